import numpy as np
import pytest

from benchmarks import references
from benchmarks.asked import Asked
from benchmarks.scoring import Gallery


def test_half_resolution_keeps_even_colour_and_loses_a_checkerboard():
    images = np.full((2, 8, 8, 3), 77, "uint8")
    images[1] = (np.indices((8, 8)).sum(0) % 2 * 200)[..., None]
    half = references.half_resolution(images)
    assert half.shape == images.shape and half.dtype == np.uint8
    np.testing.assert_array_equal(half, np.broadcast_to(np.array([77, 100])[:, None, None, None], half.shape))
    with pytest.raises(ValueError, match="even height and width.*Received"):
        references.half_resolution(images[:, :7])


def test_blur_spreads_by_its_radius():
    images = np.zeros((1, 41, 41, 3), "uint8")
    images[0, :, 20] = 255
    row = references.blurred(images, radius=3)[0, 20, :, 0].astype(float)
    offsets = np.arange(41) - 20
    assert (row * offsets**2).sum() / row.sum() == pytest.approx(9, rel=0.2)


def test_memoriser_needs_another_style():
    gallery = Gallery(np.eye(2), np.array(["a", "b"]), np.array(["flat", "3d"]), np.array([True, True]))
    assert references.memoriser_answers(Asked(["p"], [{"a"}], ["3d"]), gallery).tolist() == [0]
    with pytest.raises(ValueError, match="other than '3d'"):
        references.memoriser_answers(Asked(["p"], [{"b"}], ["3d"]), gallery)
