"""Runs a LiteRT file with all its intermediate tensors in sight, by segments, so that few are in memory at a time."""

import math

from latentdiff.export.litert.file_format import read, write

MAX_BYTES = 2**28  # of what the operators of a segment write; an operator that writes more is one by itself


def run_segments(content, inputs):
    """Runs a file without delegates.

    Args:
        content: bytes of a file.
        inputs: dict of arrays by the names of its inputs.

    Yields:
        (operators, values): the next operators, and a function from the index of a tensor of theirs to its array.
    """
    model = read(content)
    (signature,) = model.signatureDefs
    graph = model.subgraphs[signature.subgraphIndex]
    known = {item.tensorIndex: inputs[item.name.decode()] for item in signature.inputs}
    last_use = {index: place for place, operator in enumerate(graph.operators) for index in operator.inputs}
    end = 0
    for operators in _segments(graph):
        end += len(operators)
        values = _run(model, graph, operators, known)
        yield operators, values
        written = [index for operator in operators for index in operator.outputs]
        known |= {index: values(index) for index in written if last_use.get(index, -1) >= end}
        known = {index: array for index, array in known.items() if last_use.get(index, -1) >= end}


def _segments(graph):
    """Lists of operators that follow each other."""
    segment, total = [], 0
    for operator in graph.operators:
        size = sum(4 * math.prod(graph.tensors[index].shape) for index in operator.outputs)
        if segment and total + size > MAX_BYTES:
            yield segment
            segment, total = [], 0
        segment.append(operator)
        total += size
    yield segment


def _run(model, graph, operators, known):
    """Runs some operators; returns a function from the index of a tensor to its array."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    content, places = _model_of(model, graph, operators, known)
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    options = {"experimental_preserve_all_tensors": True, "experimental_op_resolver_type": resolver}
    interpreter = Interpreter(model_content=content, **options)
    interpreter.allocate_tensors()
    for index in places.keys() & known.keys():
        interpreter.set_tensor(places[index], known[index])
    interpreter.invoke()
    return lambda index: interpreter.get_tensor(places[index])


def _model_of(model, graph, operators, known):
    """A file of some operators of a graph, bytes, and a dict of the indices of tensors to those in it."""
    from ai_edge_litert import schema_py_generated as schema

    touched = {index for operator in operators for index in (*operator.inputs, *operator.outputs) if index >= 0}
    places = {index: place for place, index in enumerate(sorted(touched))}
    segment = schema.SubGraphT(
        tensors=[_copy(graph.tensors[index]) for index in places],
        inputs=[place for index, place in places.items() if index in known],
        outputs=[places[index] for operator in operators for index in operator.outputs],
        operators=[_moved(operator, places) for operator in operators],
    )
    others = [other for other in model.subgraphs if other is not graph]  # the bodies of loops
    graphs = [segment, *(_copy(other, tensors=[*map(_copy, other.tensors)]) for other in others)]
    used = sorted({0, *(tensor.buffer for one in graphs for tensor in one.tensors)})
    new = {buffer: place for place, buffer in enumerate(used)}
    for tensor in (tensor for one in graphs for tensor in one.tensors):
        tensor.buffer = new[tensor.buffer]
    cut = _copy(model, subgraphs=graphs, signatureDefs=[], metadata=[], metadataBuffer=[])
    cut.buffers = [_copy(model.buffers[buffer]) for buffer in used]
    return bytes(write(cut)), places


def _moved(operator, places):
    inputs, outputs = ([places.get(index, -1) for index in one] for one in (operator.inputs, operator.outputs))
    return _copy(operator, inputs=inputs, outputs=outputs)


def _copy(item, **changes):
    return type(item)(**{**vars(item), **changes})
