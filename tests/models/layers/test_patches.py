import numpy as np
import pytest
from harness import arrays, check_layer, normal

from latentdiff.models.layers import Patchify, Unpatchify


def test_layers():
    check_layer(lambda dtype: Patchify(2, dtype=dtype), normal(0, 2, 4, 6, 3))
    check_layer(lambda dtype: Unpatchify(2, dtype=dtype), normal(0, 2, 2, 3, 12))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_inverse(size):
    images = normal(0, 2, 8, 4, 3)
    np.testing.assert_array_equal(arrays(Unpatchify(size)(Patchify(size)(images))), images)


def test_a_patch_is_a_square():
    images = normal(0, 1, 4, 6, 3)
    patches = arrays(Patchify(2)(images))
    for row in range(2):
        for column in range(3):
            square = images[0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            np.testing.assert_array_equal(patches[0, row, column], square.reshape(-1))
