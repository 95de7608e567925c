import keras
import numpy as np
from harness import arrays

from latentdiff.models import pixels


def test_every_level_comes_back():
    levels = np.arange(256, dtype="uint8")
    made = arrays(pixels.to_float(levels))
    assert made.dtype == np.float32
    np.testing.assert_allclose([made.min(), made.max()], [-1.0, 1.0], rtol=2e-7)  # GPUs divide by a reciprocal
    np.testing.assert_array_equal(arrays(pixels.to_uint8(made)), levels)


def test_floats_are_taken_as_they_are():
    values = np.array([-1.0, 0.25, 3.0])
    np.testing.assert_array_equal(arrays(pixels.to_float(values)), values.astype("float32"))
    assert keras.backend.standardize_dtype(pixels.to_float(values.astype("float16")).dtype) == "float32"


def test_rounds_to_the_nearest_level_and_saturates():
    values = np.array([-5.0, -1.0, 0.0, 1.4 / 127.5 - 1, 1.6 / 127.5 - 1, 1.0, 5.0], "float32")
    made = arrays(pixels.to_uint8(values))
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, [0, 0, 128, 1, 2, 255, 255])
