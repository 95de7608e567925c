"""The networks of an image convert to LiteRT with builtin operators on tensors of rank four at most, as LiteRT's GPU
delegate needs it."""

import importlib.util

import numpy as np
import pytest
from harness import arrays, needs_tensorflow, normal, randomize, tiny_autoencoder, tiny_unet

pytestmark = needs_tensorflow

UNETS = [
    pytest.param({"widths": (8, 16), "pool_context": True}, id="convolutional projection", marks=pytest.mark.slow),
    pytest.param({"pool_context": False, "linear_projection": True}, id="linear projection", marks=pytest.mark.slow),
]


def convert(model, inputs, folder):
    """`model` as a LiteRT file for inputs of exactly these shapes, as bytes."""
    import keras
    import tensorflow as tf

    def spec(name, value):
        return tf.TensorSpec(value.shape, value.dtype, name=name)

    signature = {name: spec(name, value) for name, value in inputs.items()} if isinstance(inputs, dict) else None
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", model.call, input_signature=[signature or spec("latents", inputs)])
    archive.write_out(str(folder), verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter.convert()


def read(content):
    """Names of the operators of a LiteRT file, and the shapes of its tensors by name."""
    from tensorflow.lite.python import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    model = schema.Model.GetRootAs(content, 0)
    operators, shapes = [], {}
    for index in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(index)
        operators.append(names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())])
    for index in range(model.SubgraphsLength()):
        graph = model.Subgraphs(index)
        for place in range(graph.TensorsLength()):
            tensor = graph.Tensors(place)
            shapes[tensor.Name().decode()] = tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()
    return operators, shapes


def check(model, inputs, tmp_path):
    content = convert(model, inputs, tmp_path / "saved")
    operators, shapes = read(content)
    assert not {"CUSTOM", "VAR_HANDLE", "READ_VARIABLE", "BROADCAST_TO"} & set(operators), operators
    assert {"CONV_2D", "ADD"} <= set(operators)
    too_high = {name: shape for name, shape in shapes.items() if len(shape) > 4}
    assert not too_high, too_high
    assert all(side > 0 for shape in shapes.values() for side in shape)
    if not importlib.util.find_spec("ai_edge_litert"):
        return
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=content).get_signature_runner()
    named = inputs if isinstance(inputs, dict) else {"latents": inputs}
    assert set(runner.get_input_details()) == set(named)
    (answer,) = runner(**named).values()
    expected = arrays(model(inputs))
    assert expected.std() > 0.01
    np.testing.assert_allclose(answer, expected, atol=1e-4)


@pytest.mark.parametrize("settings", UNETS)
def test_unet(settings, tmp_path):
    unet = randomize(tiny_unet(activation="gelu_tanh", **settings))
    inputs = {
        "noisy_latents": normal(0, 1, 4, 4, 3),
        "timesteps": np.array([640.0], "float32"),
        "context": normal(1, 1, 5, 12),
        "context_mask": np.array([[True, True, True, False, False]]),
    }
    check(unet, inputs, tmp_path)


@pytest.mark.slow
def test_decoder(tmp_path):
    autoencoder = randomize(tiny_autoencoder(widths=(8, 16), patch_size=2, middle_attention=True))
    check(autoencoder.decoder, normal(0, 1, 4, 6, 3), tmp_path)


def test_the_check_sees_what_it_looks_for(tmp_path):
    """A model that does all that is forbidden."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 2, 2, 1, 4))])
    def wrong(latents):
        return tf.broadcast_to(latents, (1, 2, 2, 3, 4)) + tf.random.stateless_normal(latents.shape, [1, 2])

    converter = tf.lite.TFLiteConverter.from_concrete_functions([wrong.get_concrete_function()])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    operators, shapes = read(converter.convert())
    assert {"CUSTOM", "BROADCAST_TO"} <= set(operators)
    assert max(len(shape) for shape in shapes.values()) == 5
