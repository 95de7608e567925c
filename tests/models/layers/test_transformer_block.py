import math

import numpy as np
import pytest
from harness import arrays, check_layer, normal, randomize

from latentdiff.models.layers import TransformerBlock
from latentdiff.models.layers.transformer_block import ACTIVATIONS

INPUTS, CONTEXT = normal(0, 2, 5, 8), normal(1, 2, 3, 6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_layer(activation):
    check_layer(lambda dtype: TransformerBlock(2, activation, 2, dtype=dtype), INPUTS, CONTEXT)


def test_unknown_activation():
    with pytest.raises(ValueError, match=r"`activation` must be one of \['gelu', 'gelu_tanh'\]. Received.*'relu'"):
        TransformerBlock(2, "relu")


def test_activations():
    points = np.linspace(-4, 4, 33).astype("float32")
    exact = [0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in points.tolist()]
    tanh = [0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) for x in points.tolist()]
    np.testing.assert_allclose(arrays(ACTIVATIONS["gelu"](points)), exact, atol=1e-6)
    np.testing.assert_allclose(arrays(ACTIVATIONS["gelu_tanh"](points)), tanh, atol=1e-6)


@pytest.mark.parametrize("part", ["self_attention", "cross_attention", "feed_out"])
def test_each_part_is_residual_and_matters(part):
    layer = TransformerBlock(2)
    layer(INPUTS, CONTEXT)
    randomize(layer, scale=0.6)
    before = arrays(layer(INPUTS, CONTEXT))
    last = getattr(layer, part)
    last = last if part == "feed_out" else last.out
    for variable in last.variables:
        variable.assign(np.zeros(variable.shape))
    assert np.abs(arrays(layer(INPUTS, CONTEXT)) - before).max() > 1e-2
    for other in (layer.self_attention.out, layer.cross_attention.out, layer.feed_out):
        for variable in other.variables:
            variable.assign(np.zeros(variable.shape))
    np.testing.assert_array_equal(arrays(layer(INPUTS, CONTEXT)), INPUTS)
