"""Checks of a SavedModel that was just written."""

import numpy as np

from latentdiff.export.saved_model.signatures import SIGNATURES
from latentdiff.export.saved_model.step_signatures import STEP_SIGNATURES
from latentdiff.settings.wire import SERVED

LEVELS = 2  # of 255: what two ways to the same float32 image may differ by
CHECKED = {
    "prompts": ["a red apple", "a smiling cat"],
    "negative_prompts": ["", "blue"],
    "seeds": [7, 8],
    "guidance_scale": [1.0, 3.0],
}


def check_structure(folder, token_ids):
    """Raises ValueError unless the file has the signatures, runs without XLA and, for token ids, without TF Text."""
    graph = _read(folder)
    found = {name for name in graph.signature_def if not name.startswith("__")}
    if found - set(STEP_SIGNATURES) != set(SIGNATURES):
        raise ValueError(f"The SavedModel in {folder} must have signatures {SIGNATURES}. Received: {sorted(found)}")
    for name in found:
        signature = graph.signature_def[name]
        for key, tensor in [*signature.inputs.items(), *signature.outputs.items()]:
            if not tensor.tensor_shape.dim or tensor.tensor_shape.dim[0].size != -1:
                raise ValueError(f"{key} of signature {name} must have any batch in front. Received: {tensor}")
    compiled = [function.signature.name for function in graph.graph_def.library.function if _must_compile(function)]
    if compiled:
        raise ValueError(f"TF Serving runs without XLA, which these functions ask for: {compiled}")
    foreign = foreign_ops(graph)
    if token_ids and foreign:
        raise ValueError(f"The form for token ids must be made of TensorFlow's own operators. Received: {foreign}")


def check_pictures(folder, signatures):
    """Raises ValueError unless the file gives the images that Keras gives with the same weights."""
    import tensorflow as tf

    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    text_encoder = signatures.model.text_encoder
    checked = {**CHECKED, "num_steps": [1, min(3, signatures.max_steps)]}
    if text_encoder.max_chunks > 1:  # a short prompt, and one that begins a second chunk
        checked["prompts"] = [CHECKED["prompts"][0], ", ".join(["cat"] * (text_encoder.sequence_length // 2))]
    inputs = {**signatures.example(len(CHECKED["seeds"]), num_steps=1), **checked}  # the rest as it is by default
    inputs = {name: tf.constant(values) for name, values in inputs.items()}
    if signatures.texts.name == "token_ids":
        for name in ("prompts", "negative_prompts"):
            ids = text_encoder.tokenize(checked[name])
            inputs[name.replace("prompts", "token_ids")] = tf.constant(ids)
            del inputs[name]
    received = serve(**inputs)["images"].numpy().astype("int32")
    arguments = {row.name: checked[row.wire] for row in SERVED if row.wire in checked}
    with signatures.weights.assigned():
        expected = signatures.text_to_image.generate(**arguments, sampler=signatures.sampler)
    gap = np.abs(received - expected).max()
    if gap > LEVELS:
        raise ValueError(f"The SavedModel's images are {gap} of 255 levels away from Keras', {LEVELS} are allowed.")


def foreign_ops(graph):
    """Names of the operators of a MetaGraphDef that are not TensorFlow's own."""
    import tensorflow as tf

    nodes = [*graph.graph_def.node, *(node for item in graph.graph_def.library.function for node in item.node_def)]
    functions = {function.signature.name for function in graph.graph_def.library.function}
    return sorted({node.op for node in nodes} - functions - set(dir(tf.raw_ops)))


def _must_compile(function):
    attributes = [function.attr, *(node.attr for node in function.node_def)]
    return any(attribute["_XlaMustCompile"].b for attribute in attributes if "_XlaMustCompile" in attribute)


def _read(folder):
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    return graph
