"""LiteRT files: made from functions of tensors, looked into, and run."""

import collections
import contextlib
import io
import re
import tempfile

import keras
import numpy as np

from latentdiff.export.litert.outside_weights import outside, write_weights

MAX_BYTES = 2**31 - 1  # offsets in a LiteRT file are signed 32-bit numbers
MAX_RANK = 4  # of LiteRT on GPUs
FORBIDDEN = ("BROADCAST_TO", "CUSTOM", "READ_VARIABLE", "VAR_HANDLE")


def convert(function, models, inputs):
    """A function of tensors as a LiteRT file.

    Args:
        function: takes tensors by name, returns a dict of tensors. What the file calls them.
        models: list of the keras.Models or layers whose weights the function reads.
        inputs: dict of names to `keras.InputSpec`s of fixed shape.

    Returns:
        bytearray.

    Raises:
        ValueError: the function needs an operator that LiteRT does not have; names it.
    """
    import tensorflow as tf

    large, small = outside(models)
    small = [(weight, weight.numpy()) for weight in small]
    specs = [tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in inputs.items()]
    specs += [tf.TensorSpec(weight.shape, weight.dtype, name=name) for name, weight in large.items()]

    def serve(*values):
        mapping = [*zip(large.values(), values[len(inputs) :], strict=True)]
        with keras.StatelessScope([*mapping, *((weight, tf.constant(array)) for weight, array in small)]):
            return function(**dict(zip(inputs, values, strict=False)))

    # Through an ExportArchive, since a tf.Module converts without complaint into a file that answers NaN.
    archive = keras.export.ExportArchive()
    archive.add_endpoint("serve", serve, specs)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            content = converter.convert()
        except Exception as error:
            missing = sorted(set(re.findall(r"'?(tf\.\w+)'? op is neither a custom op nor a flex op", str(error))))
            if not missing:
                raise
            raise ValueError(f"LiteRT has no operator for {', '.join(missing)}.") from error
    return write_weights(content, {name: _values(weight) for name, weight in large.items()})


def _values(weight):
    """The values of a Keras variable, not copied."""
    import tensorflow as tf

    return np.asarray(memoryview(tf.convert_to_tensor(weight.value)))


@contextlib.contextmanager
def _quiet():
    """Keeps the deprecation notes and statistics of the converter off the terminal."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        yield


def check(content, max_bytes=MAX_BYTES):
    """Raises ValueError, which names the operator, if a LiteRT file has something that some LiteRT runtime lacks.

    That is: an operator that is custom (those of TensorFlow, "Flex", are), or that reads a variable; BROADCAST_TO or a
    tensor of rank above 4, which both keep a graph off LiteRT's GPUs; a size that is not known; or too many bytes.
    """
    if len(content) > max_bytes:
        raise ValueError(f"A LiteRT file can't be larger than {max_bytes} bytes. Received: {len(content)} bytes")
    for operator in operators(content):
        if operator.name in FORBIDDEN:
            raise ValueError(f"The operator {operator.custom_name or operator.name} does not run everywhere.")
        for shape in operator.shapes:
            if len(shape) > MAX_RANK:
                raise ValueError(f"{operator.name} has a tensor of shape {shape}: its rank must be at most {MAX_RANK}.")
            if any(side < 0 for side in shape):
                raise ValueError(f"{operator.name} has a tensor of shape {shape}: its sizes (-1) must be known.")


Operator = collections.namedtuple("Operator", "name custom_name shapes")


def operators(content):
    """Each operator of a LiteRT file: its name, its custom name or None, and the shapes of what it reads and writes."""
    from ai_edge_litert import schema_py_generated as schema

    names = operator_names()
    model = schema.Model.GetRootAs(content, 0)
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for operator in map(graph.Operators, range(graph.OperatorsLength())):
            code = model.OperatorCodes(operator.OpcodeIndex())
            custom = code.CustomCode()
            tensors = [*map(operator.Inputs, range(operator.InputsLength()))]
            tensors += [*map(operator.Outputs, range(operator.OutputsLength()))]
            yield Operator(
                names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())],
                custom and custom.decode(),
                [_shape(graph.Tensors(index)) for index in tensors if index >= 0],
            )


def operator_names():
    """Names of the builtin operators by their codes."""
    from ai_edge_litert import schema_py_generated as schema

    return {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


def _shape(tensor):
    # Where a size is not known, the signature says -1 and the shape 1.
    signature = tensor.ShapeSignatureAsNumpy() if tensor.ShapeSignatureLength() else tensor.ShapeAsNumpy()
    return tuple(np.atleast_1d(signature).tolist()) if tensor.ShapeLength() else ()


def run(content, inputs, num_threads=2):
    """What a LiteRT file answers: dict of arrays -> dict of arrays."""
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=bytes(content), num_threads=num_threads).get_signature_runner()(**inputs)
