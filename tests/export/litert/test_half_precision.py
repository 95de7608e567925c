"""No constant, activation or partial sum of a file leaves the range of float16, in which GPUs compute."""

import keras
import numpy as np
import pytest
from harness import first_fast, needs_tensorflow
from keras import ops

from latentdiff.export.litert import file as litert_file
from latentdiff.export.litert.file_format import read
from latentdiff.export.litert.half_precision import MAX_FLOAT16, bound_masks, check_range, constants

pytest.importorskip("ai_edge_litert")
pytestmark = needs_tensorflow


def file_of(function, *shape):
    return litert_file.convert(lambda x: {"y": function(x)}, [], {"x": keras.InputSpec("float32", shape)})


@pytest.mark.parametrize("hidden", first_fast([-1e9, 1e9, 0.7 * np.finfo("float32").max]))
def test_masks_of_keras_are_brought_into_range(hidden):
    def hide(x):
        return ops.softmax(x[:1] + np.sign(hidden) * (x[1:] - 1.0) * hidden, axis=-1)

    content = file_of(hide, 2, 4)
    x = np.array([[0.3, -0.2, 0.7, 2.0], [1.0, 1.0, 0.0, 0.0]], "float32")
    with pytest.raises(ValueError, match="The constant .* must stay within float16, 65504. Received: "):
        check_range(content, {"x": x})
    bounded = bound_masks(content)
    check_range(bounded, {"x": x})
    expected, received = (litert_file.run(one, {"x": x})["y"] for one in (content, bounded))
    np.testing.assert_array_equal(received, expected)
    assert received[0, 2:].tolist() == [0.0, 0.0]


def test_other_large_constants_are_refused():
    content = bound_masks(file_of(lambda x: x * 70_000.0, 2, 4))
    with pytest.raises(ValueError, match="The constant .* Received: 70000"):
        check_range(content, {"x": np.zeros((2, 4), "float32")})


def test_activations_that_leave_the_range_are_refused():
    content = file_of(lambda x: ops.sqrt(ops.square(x) + 1.0), 2, 4)
    check_range(content, {"x": np.full((2, 4), 200.0, "float32")})
    with pytest.raises(ValueError, match="What .* answers must stay within float16.* Received: 90000"):
        check_range(content, {"x": np.full((2, 4), 300.0, "float32")})


def test_what_is_no_number_is_refused():
    content = file_of(ops.log, 1, 2)
    with pytest.raises(ValueError, match="What LOG answers must stay within float16.* Received: inf"):
        check_range(content, {"x": np.array([[-1.0, 1.0]], "float32")})


def test_sums_whose_mean_is_small_are_refused():
    content = file_of(lambda x: ops.mean(x, axis=(1, 2)), 1, 64, 64, 3)
    check_range(content, {"x": np.full((1, 64, 64, 3), 15.0, "float32")})
    with pytest.raises(ValueError, match="A partial sum of (MEAN|SUM) must stay within float16.* Received: 69632"):
        check_range(content, {"x": np.full((1, 64, 64, 3), 17.0, "float32")})


@pytest.mark.parametrize("name", ["text_encoder", "denoiser", "decoder", "encoder"])
def test_exported_files_stay_within_float16(name, tiny_export):
    content = (tiny_export[1] / f"{name}.tflite").read_bytes()
    found = [np.abs(values).max(initial=0.0) for _, values in constants(read(content))]
    assert found and max(found) <= MAX_FLOAT16
