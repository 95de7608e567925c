"""Files are read and written without a change; large constants stand behind the graph, whatever their layout."""

import keras
import numpy as np
import pytest
from harness import needs_tensorflow, normal
from keras import ops

from latentdiff.export.litert import file as litert_file
from latentdiff.export.litert.file_format import ALIGNMENT, operator_code, read, write

pytest.importorskip("ai_edge_litert")
pytestmark = needs_tensorflow


@pytest.fixture(scope="module")
def content():
    table = normal(0, 20, 30)
    return litert_file.convert(lambda x: {"y": ops.matmul(x, table)}, [], {"x": keras.InputSpec("float32", (2, 20))})


def test_what_is_written_answers_the_same(content):
    inputs = {"x": normal(1, 2, 20)}
    again = write(read(content))
    np.testing.assert_array_equal(litert_file.run(again, inputs)["y"], litert_file.run(content, inputs)["y"])
    assert write(read(again)) == again


def test_large_constants_stand_behind_the_graph(content):
    from ai_edge_litert import schema_py_generated as schema

    model = read(content)
    (place,) = [i for i, buffer in enumerate(model.buffers) if buffer.data is not None and len(buffer.data) == 2400]
    values = np.frombuffer(model.buffers[place].data, "float32").reshape(30, 20)
    model.buffers[place].data = np.asfortranarray(values)  # a layout that must be undone
    written = write(model)
    buffer = schema.Model.GetRootAs(written, 0).Buffers(place)
    assert buffer.Size() == 2400 and buffer.DataLength() == 0 and buffer.Offset() % ALIGNMENT == 0
    assert written[buffer.Offset() :][: buffer.Size()] == values.tobytes()


def test_operators_are_added_once(content):
    model = read(content)
    count = len(model.operatorCodes)
    assert operator_code(model, "GATHER") == operator_code(model, "GATHER") == count
    assert len(model.operatorCodes) == count + 1
