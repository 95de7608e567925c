"""The bytes of a LiteRT file: read into objects, written, constants behind the graph so that they may exceed 2 GB."""

import numpy as np

MIN_BYTES = 1024  # smaller constants stay within the graph
ALIGNMENT = 16


def read(content):
    """The `ModelT` of a LiteRT file; its constants are views of the bytes, not copies."""
    from ai_edge_litert.tools import flatbuffer_utils

    return flatbuffer_utils.read_model_from_bytearray(memoryview(content))


def write(model):
    """The bytes of a `ModelT`, a bytearray; large constants, arrays of any type and layout, stand behind the graph."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    arrays = {}
    for index, buffer in enumerate(model.buffers):
        if buffer.data is not None and np.asarray(buffer.data).nbytes >= MIN_BYTES:
            arrays[index], buffer.data = buffer.data, None
            buffer.offset = buffer.size = 1  # anything but zero, so that there is a place for the number
    graph = _packed(model)
    end = _aligned(len(graph))
    content = bytearray(end + sum(_aligned(np.asarray(array).nbytes) for array in arrays.values()))
    content[: len(graph)] = graph
    root = schema.Model.GetRootAs(content, 0)
    for index, array in arrays.items():
        values = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        content[end : end + values.nbytes] = memoryview(values)
        flatbuffer_utils.update_packed_buffer(root.Buffers(index), end, values.nbytes)
        end = _aligned(end + values.nbytes)
    return content


def _packed(model):
    from ai_edge_litert.tools import flatbuffer_utils

    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.ascontiguousarray(buffer.data).reshape(-1).view(np.uint8)
    return flatbuffer_utils.convert_object_to_bytearray(model)


def _aligned(size):
    return -(-size // ALIGNMENT) * ALIGNMENT


def operator_code(model, name, version=3):
    """The index of a builtin operator, by its name, among those that a model uses; added where it is new."""
    from ai_edge_litert import schema_py_generated as schema

    builtin = getattr(schema.BuiltinOperator, name)
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == builtin:
            return index
    code = schema.OperatorCodeT(builtinCode=builtin, version=version, deprecatedBuiltinCode=min(builtin, 127))
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
