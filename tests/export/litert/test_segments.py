"""A file that is run by segments has the intermediate tensors of one that is run whole."""

import keras
import numpy as np
import pytest
from harness import needs_tensorflow, normal
from keras import ops

from latentdiff.export.litert import file as litert_file
from latentdiff.export.litert import segments

pytest.importorskip("ai_edge_litert")
pytestmark = needs_tensorflow


def function(x):
    """Uses its input early and late, and a loop in between."""
    y = ops.softmax(ops.matmul(x, ops.transpose(x)))
    _, z = ops.while_loop(lambda step, z: step < 3, lambda step, z: (step + 1, ops.tanh(z) + 0.1), (0, y))
    return {"z": ops.matmul(z, x) + ops.sum(y)}


def outputs(content, inputs):
    """Arrays by the index of the tensor, and the number of segments."""
    runs = list(segments.run_segments(content, inputs))
    written = {i: values(i) for operators, values in runs for operator in operators for i in operator.outputs}
    return written, len(runs)


def test_segments(monkeypatch):
    content = litert_file.convert(function, [], {"x": keras.InputSpec("float32", (8, 6))})
    inputs = {"x": normal(0, 8, 6)}
    whole, one = outputs(content, inputs)
    monkeypatch.setattr(segments, "MAX_BYTES", 300)
    parts, several = outputs(content, inputs)
    assert one == 1 and several > 3 and parts.keys() == whole.keys()
    for index, values in whole.items():
        np.testing.assert_array_equal(parts[index], values)
    expected = function(inputs["x"])["z"]
    assert any(np.shape(values) == (8, 6) and np.allclose(values, expected, atol=1e-5) for values in parts.values())
