"""Weights that the converter never sees: they are inputs of what it converts, and are written into its file afterwards.

The converter holds several copies of each constant, and its files can't exceed 2 GB. Without weights it needs little
memory, and the file may be of any size while its weights have 32 bits.
"""

import numpy as np

from latentdiff.export.litert.file_format import operator_code, read, write


def outside(models):
    """The weights of keras.Models or layers: a dict of names to those that stay outside, and a list of the others.

    Outside are those of float32 with rank two or more. The converter may compute with the others.
    """
    weights = {id(weight): weight for model in models for weight in model.variables}.values()
    large = [weight for weight in weights if len(weight.shape) >= 2 and weight.dtype == "float32"]
    named = {f"outside_weight_{index}": weight for index, weight in enumerate(large)}
    return named, [weight for weight in weights if not any(weight is other for other in large)]


def write_weights(content, arrays):
    """A LiteRT file whose inputs of these names are constants in place of inputs.

    What only changes the layout of a weight is computed here, as the converter does with constants, and a product with
    a matrix becomes a dense layer.

    Args:
        content: bytes of a file.
        arrays: dict of names of inputs to float32 arrays, which are not copied before they are written.

    Returns:
        bytearray.
    """
    model = read(content)
    (signature,) = model.signatureDefs
    graph = model.subgraphs[signature.subgraphIndex]
    weights = {item.tensorIndex: arrays[item.name.decode()] for item in signature.inputs if _is_one(item, arrays)}
    signature.inputs = [item for item in signature.inputs if not _is_one(item, arrays)]
    graph.inputs = [index for index in graph.inputs if index not in weights]
    _Binder(model).bind(graph, weights)
    return write(model)


def _is_one(item, arrays):
    return item.name.decode() in arrays


class _Binder:
    """Writes arrays into the graphs of a model."""

    def __init__(self, model):
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.model = model
        self.dtypes = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.INT32: np.int32}
        self.buffers = {}  # of arrays that are written, by their place in memory and their layout

    def bind(self, graph, weights):
        """Makes tensors of a graph constants: `weights` is a dict of their indices to arrays."""
        weights = dict(weights)
        graph.operators = [operator for operator in graph.operators if not self._folded(graph, operator, weights)]
        for operator in graph.operators:
            kind = self._kind(operator)
            if kind == self.schema.BuiltinOperator.BATCH_MATMUL:
                self._make_dense(graph, operator, weights)
            elif kind == self.schema.BuiltinOperator.WHILE:
                self._bind_loop(operator, weights)
        for index in {index for operator in graph.operators for index in operator.inputs} & weights.keys():
            self._write(graph.tensors[index], weights[index])

    def _kind(self, operator):
        return self.model.operatorCodes[operator.opcodeIndex].builtinCode

    def _folded(self, graph, operator, weights):
        """Whether an operator only lays a weight out anew, or takes constants alone; its output is then a weight."""
        if not weights.keys() & set(operator.inputs):
            return False
        kinds, kind = self.schema.BuiltinOperator, self._kind(operator)
        values = [self._constant(graph, index, weights) for index in operator.inputs]
        if values[0] is None:
            return False
        if kind == kinds.TRANSPOSE:
            made = values[0].transpose(values[1])
        elif kind == kinds.RESHAPE:
            made = values[0].reshape(graph.tensors[operator.outputs[0]].shape)
        elif kind == kinds.FULLY_CONNECTED:  # of an offset in front of a dense layer, which becomes one behind it
            made = values[0] @ values[1].T + (0.0 if values[2] is None else values[2])
        else:
            return False
        weights[operator.outputs[0]] = made
        return True

    def _constant(self, graph, index, weights):
        """The values of a tensor that is a weight or a constant of float32 or int32, else None."""
        if index in weights or index < 0:
            return weights.get(index)
        tensor = graph.tensors[index]
        data, dtype = self.model.buffers[tensor.buffer].data, self.dtypes.get(tensor.type)
        return None if data is None or dtype is None else np.frombuffer(data, dtype).reshape(tensor.shape)

    def _make_dense(self, graph, operator, weights):
        """FULLY_CONNECTED in place of BATCH_MATMUL with a matrix; its matrix is (outputs, inputs)."""
        inputs, matrix = operator.inputs
        options = operator.builtinOptions
        if matrix not in weights or weights[matrix].ndim != 2 or options.adjX:
            return
        weight = weights[matrix] if options.adjY else weights[matrix].T
        graph.tensors.append(self.schema.TensorT(name=f"dense_{len(graph.tensors)}".encode(), type=0))
        weights[len(graph.tensors) - 1] = weight
        operator.inputs = [inputs, len(graph.tensors) - 1, -1]
        operator.opcodeIndex = operator_code(self.model, "FULLY_CONNECTED", version=5)
        operator.builtinOptionsType = self.schema.BuiltinOptions.FullyConnectedOptions
        operator.builtinOptions = self.schema.FullyConnectedOptionsT(keepNumDims=True)

    def _bind_loop(self, operator, weights):
        """Weights that a loop passes on are constants within it."""
        options = operator.builtinOptions
        given = {place: weights[index] for place, index in enumerate(operator.inputs) if index in weights}
        for graph_index in (options.condSubgraphIndex, options.bodySubgraphIndex):
            graph = self.model.subgraphs[graph_index]
            self.bind(graph, {graph.inputs[place]: array for place, array in given.items()})
            graph.inputs = _without(graph.inputs, given)
        graph.outputs = _without(graph.outputs, given)  # of the body, the second of the two
        operator.inputs, operator.outputs = _without(operator.inputs, given), _without(operator.outputs, given)

    def _write(self, tensor, array):
        tensor.shape = list(array.shape)
        key = array.__array_interface__["data"], array.shape, array.strides
        if key not in self.buffers:
            self.buffers[key] = len(self.model.buffers)
            self.model.buffers.append(self.schema.BufferT(data=array))
        tensor.buffer = self.buffers[key]


def _without(items, places):
    return [item for place, item in enumerate(items) if place not in places]
