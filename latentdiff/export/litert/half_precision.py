"""Whether a LiteRT file can be computed in float16, as LiteRT does on GPUs: nothing may leave its range."""

import numpy as np

from latentdiff.export.litert.file import operator_names
from latentdiff.export.litert.file_format import read
from latentdiff.export.litert.segments import run_segments

MAX_FLOAT16 = 65504.0
KERAS_HIDDEN = 1e9  # Keras subtracts this or more (0.7 times the largest float32) from the scores of hidden keys
HIDDEN = 3e4  # exp(-3e4) is 0 as well
SUMS = ("MEAN", "SUM")


def bound_masks(content):
    """A file whose attention hides keys by a number that float16 can hold, in place of Keras' own; bytearray."""
    bounded = bytearray(content)
    for _, values in constants(read(bounded)):
        if values.size == 1 and abs(values[0]) >= KERAS_HIDDEN:
            values[0] = np.copysign(HIDDEN, values[0])
    return bounded


def check_range(content, inputs):
    """Raises ValueError, which names the operator, if a constant, an activation or a partial sum is beyond float16.

    Args:
        content: a LiteRT file of float32, bytes.
        inputs: dict of arrays, plausible ones: activations are those of one run.
    """
    model, names = read(content), operator_names()
    for name, values in constants(model):
        _check(f"The constant {name}", np.abs(values).max(initial=0.0))
    for operators, values in run_segments(content, inputs):
        for operator in operators:
            _check_operator(operator, names[model.operatorCodes[operator.opcodeIndex].builtinCode], values)


def _check_operator(operator, name, values):
    for index in operator.outputs:
        _check(f"What {name} answers", _largest(values(index)))
    if name in SUMS:
        summed, axes = map(values, operator.inputs[:2])
        _check(f"A partial sum of {name}", _largest(np.abs(summed).sum(axis=tuple(np.ravel(axes)))))


def _check(what, largest):
    if largest > MAX_FLOAT16:
        raise ValueError(f"{what} must stay within float16, {MAX_FLOAT16:.0f}. Received: {largest:.6g}")


def _largest(values):
    """The largest magnitude of an array; infinite where it has no number."""
    if values.dtype.kind != "f" or not values.size:
        return 0.0
    largest = np.abs(values).max()
    return np.inf if np.isnan(largest) else float(largest)


def constants(model):
    """(name, values) of each float32 constant of a `ModelT`; the values are a view of its bytes."""
    from ai_edge_litert import schema_py_generated as schema

    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        data = model.buffers[tensor.buffer].data
        if tensor.type == schema.TensorType.FLOAT32 and data is not None and len(data):
            yield tensor.name.decode(), np.frombuffer(data, "float32")
