import numpy as np
import pytest
from harness import arrays, assert_close, check_layer, normal, randomize

from latentdiff.models.layers import SpatialTransformer

INPUTS, CONTEXT = normal(0, 2, 4, 2, 8), normal(1, 2, 5, 6)


@pytest.mark.parametrize("linear_projection", [False, True])
def test_layer(linear_projection):
    def make(dtype):
        return SpatialTransformer(2, 2, 4, linear_projection, "gelu_tanh", 2, dtype=dtype)

    check_layer(make, INPUTS, CONTEXT)


def test_fresh_transformer_is_the_identity():
    np.testing.assert_array_equal(arrays(SpatialTransformer(2, groups=4)(INPUTS, CONTEXT)), INPUTS)


def test_linear_projection_computes_the_same():
    convolution, linear = (SpatialTransformer(2, groups=4, linear_projection=choice) for choice in (False, True))
    for layer in (convolution, linear):
        layer(INPUTS, CONTEXT)
    randomize(convolution)
    for mine, other in zip(linear.weights, convolution.weights, strict=True):
        mine.assign(arrays(other).reshape(mine.shape))
    assert_close(linear(INPUTS, CONTEXT), convolution(INPUTS, CONTEXT), 1e-5)


def test_hidden_keys_never_matter():
    layer = SpatialTransformer(2, depth=2, groups=4)
    layer(INPUTS, CONTEXT)
    randomize(layer)
    mask = np.array([[True, True, False, False, False], [True, True, True, True, False]])
    garbage = np.where(mask[:, :, None], CONTEXT, 1e4).astype("float32")
    assert_close(layer(INPUTS, garbage, key_mask=mask), layer(INPUTS, CONTEXT, key_mask=mask), 1e-6)
    assert np.abs(arrays(layer(INPUTS, garbage)) - arrays(layer(INPUTS, CONTEXT))).max() > 1e-2
