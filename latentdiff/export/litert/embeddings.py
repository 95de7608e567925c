"""Word tables with fewer bits, which `litert-quantizer` leaves as they are: LiteRT looks words up with GATHER."""

import numpy as np

from latentdiff.export.litert.file_format import operator_code, read, write

MIN_ENTRIES = 2**16  # a smaller table is not worth two more operators


def quantize_embeddings(content, quantization):
    """A LiteRT file whose word tables are stored as float16, or as int8 with one scale a word.

    The words of a prompt are looked up in the small table and then widened to float32.

    Args:
        content: bytes of a file.
        quantization: "float16" or "dynamic_int8".

    Returns:
        bytearray.
    """
    model = read(content)
    for graph in model.subgraphs:
        _Editor(model, graph).narrow_lookups(quantization)
    return write(model)


class _Editor:
    """Changes one graph of a LiteRT model."""

    def __init__(self, model, graph):
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.model = model
        self.graph = graph

    def narrow_lookups(self, quantization):
        """Puts smaller tables in place of those that words are looked up in."""
        narrow = self._float16 if quantization == "float16" else self._int8
        operators = []
        for operator in self.graph.operators:
            operators += narrow(operator) if self._is_lookup(operator) else [operator]
        self.graph.operators = operators

    def _is_lookup(self, operator):
        """Whether an operator takes rows out of a large constant table of floats."""
        code = self.model.operatorCodes[operator.opcodeIndex].builtinCode
        if code != self.schema.BuiltinOperator.GATHER or operator.builtinOptions.axis != 0:
            return False
        table = self.graph.tensors[operator.inputs[0]]
        is_float = table.type == self.schema.TensorType.FLOAT32
        return is_float and self._data(table) is not None and np.prod(table.shape) >= MIN_ENTRIES

    def _float16(self, operator):
        table, output = self.graph.tensors[operator.inputs[0]], operator.outputs[0]
        values = self._values(table).astype(np.float16)
        rows = self._tensor("rows", self.schema.TensorType.FLOAT16, self.graph.tensors[output].shape)
        narrow = self._constant("table", self.schema.TensorType.FLOAT16, values)
        self._drop(table)
        return [
            self._operator("GATHER", [narrow, operator.inputs[1]], rows, operator.builtinOptions),
            self._operator("DEQUANTIZE", [rows], output),
        ]

    def _int8(self, operator):
        types, output = self.schema.TensorType, operator.outputs[0]
        table, shape = self.graph.tensors[operator.inputs[0]], self.graph.tensors[output].shape
        values = self._values(table)
        scales = np.maximum(np.abs(values).max(axis=1, keepdims=True), 1e-12) / 127.0
        whole = np.rint(values / scales).astype(np.int8)
        rows, wide = (self._tensor(name, kind, shape) for name, kind in (("rows", types.INT8), ("wide", types.FLOAT32)))
        scale = self._tensor("scale", types.FLOAT32, [*shape[:-1], 1])
        table_index = self._constant("table", types.INT8, whole)
        scales_index = self._constant("scales", types.FLOAT32, scales.astype(np.float32))
        self._drop(table)
        return [
            self._operator("GATHER", [table_index, operator.inputs[1]], rows, operator.builtinOptions),
            self._operator("CAST", [rows], wide),
            self._operator("GATHER", [scales_index, operator.inputs[1]], scale, operator.builtinOptions),
            self._operator("MUL", [wide, scale], output, self.schema.MulOptionsT()),
        ]

    # === Pieces of a model ===

    def _data(self, tensor):
        data = self.model.buffers[tensor.buffer].data
        return data if data is not None and len(data) else None

    def _values(self, tensor):
        return np.frombuffer(self._data(tensor), np.float32).reshape(tensor.shape)

    def _drop(self, tensor):
        """Takes the content of a constant out of the file, unless something else reads it too."""
        readers = [operator for operator in self.graph.operators if any(self._is(tensor, i) for i in operator.inputs)]
        if len(readers) == 1:
            self.model.buffers[tensor.buffer].data = None

    def _is(self, tensor, index):
        return index >= 0 and self.graph.tensors[index].buffer == tensor.buffer

    def _tensor(self, name, kind, shape, buffer=0):
        tensor = self.schema.TensorT()
        tensor.name = f"embedding/{name}_{len(self.graph.tensors)}"
        tensor.type = kind
        tensor.shape = np.array(shape, np.int32)
        tensor.buffer = buffer
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _constant(self, name, kind, values):
        buffer = self.schema.BufferT()
        buffer.data = values
        self.model.buffers.append(buffer)
        return self._tensor(name, kind, values.shape, len(self.model.buffers) - 1)

    def _operator(self, name, inputs, output, options=None):
        operator = self.schema.OperatorT()
        operator.opcodeIndex = operator_code(self.model, name)
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        return operator
