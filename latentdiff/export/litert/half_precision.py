"""Whether a LiteRT file can be computed in float16, as LiteRT does on GPUs: nothing may leave its range."""

import numpy as np

from latentdiff.export.litert.file import operator_names

MAX_FLOAT16 = 65504.0
KERAS_HIDDEN = 1e9  # Keras subtracts this or more (0.7 times the largest float32) from the scores of hidden keys
HIDDEN = 3e4  # exp(-3e4) is 0 as well
SUMS = ("MEAN", "SUM")


def bound_masks(content):
    """A file whose attention hides keys by a number that float16 can hold, in place of Keras' own; bytes."""
    from ai_edge_litert import schema_py_generated as schema

    bounded = bytearray(content)
    for _, values in _constants(schema.Model.GetRootAs(bounded, 0)):
        if values.size == 1 and abs(values[0]) >= KERAS_HIDDEN:
            values[0] = np.copysign(HIDDEN, values[0])
    return bytes(bounded)


def check_range(content, inputs):
    """Raises ValueError, which names the operator, if a constant, an activation or a partial sum is beyond float16.

    Args:
        content: a LiteRT file of float32, bytes.
        inputs: dict of arrays, plausible ones: activations are those of one run.
    """
    from ai_edge_litert import schema_py_generated as schema

    model, names = schema.Model.GetRootAs(content, 0), operator_names()
    for name, values in _constants(model):
        _check(f"The constant {name}", np.abs(values).max(initial=0.0))
    read, graph = _run(content, inputs), model.Subgraphs(0)
    for operator in map(graph.Operators, range(graph.OperatorsLength())):
        code = model.OperatorCodes(operator.OpcodeIndex())
        name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        for index in operator.OutputsAsNumpy():
            _check(f"What {name} answers", _largest(read(index)))
        if name in SUMS:
            values, axes = map(read, operator.InputsAsNumpy()[:2])
            _check(f"A partial sum of {name}", _largest(np.abs(values).sum(axis=tuple(np.ravel(axes)))))


def _check(what, largest):
    if largest > MAX_FLOAT16:
        raise ValueError(f"{what} must stay within float16, {MAX_FLOAT16:.0f}. Received: {largest:.6g}")


def _largest(values):
    """The largest magnitude of an array; infinite where it has no number."""
    if values.dtype.kind != "f" or not values.size:
        return 0.0
    largest = np.abs(values).max()
    return np.inf if np.isnan(largest) else float(largest)


def _constants(model):
    """(name, values) of each float32 constant of a model; the values are a view of its bytes."""
    from ai_edge_litert import schema_py_generated as schema

    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for tensor in map(graph.Tensors, range(graph.TensorsLength())):
            content = model.Buffers(tensor.Buffer())
            if tensor.Type() == schema.TensorType.FLOAT32 and content.DataLength():
                yield tensor.Name().decode(), content.DataAsNumpy().view("float32")


def _run(content, inputs):
    """Runs a file without delegates; returns a function from the index of a tensor to its values."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    options = {"experimental_preserve_all_tensors": True, "experimental_op_resolver_type": resolver}
    interpreter = Interpreter(model_content=content, **options)
    interpreter.allocate_tensors()
    for name, detail in interpreter.get_signature_runner().get_input_details().items():
        interpreter.set_tensor(detail["index"], inputs[name])
    interpreter.invoke()
    return interpreter.get_tensor
