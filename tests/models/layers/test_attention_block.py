import numpy as np
from harness import arrays, assert_close, check_layer, normal, randomize

from latentdiff.models.layers import AttentionBlock


def make(dtype=None):
    return AttentionBlock(2, groups=4, dtype=dtype)


def test_layer():
    check_layer(make, normal(0, 2, 4, 2, 8))


def test_residual():
    layer, inputs = make(), normal(0, 1, 2, 2, 8)
    layer(inputs)
    layer.attention.out.kernel.assign(np.zeros((8, 8)))
    np.testing.assert_array_equal(arrays(layer(inputs)), inputs)


def test_places_are_exchangeable():
    """It sees a set of places, so turning the image turns the result."""
    layer, inputs = make(), normal(0, 1, 3, 3, 8)
    layer(inputs)
    randomize(layer)
    assert_close(layer(np.rot90(inputs, axes=(1, 2)).copy()), np.rot90(arrays(layer(inputs)), axes=(1, 2)), 1e-5)
    assert np.abs(arrays(layer(inputs)) - inputs).max() > 0.1
