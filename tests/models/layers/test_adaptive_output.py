import numpy as np
from harness import arrays, check_layer, normal, randomize

from latentdiff.models.layers import AdaptiveOutput

INPUTS, EMBEDDING = normal(0, 2, 2, 3, 8), normal(1, 2, 8)


def test_contract():
    check_layer(lambda dtype: AdaptiveOutput(5, dtype=dtype), INPUTS, EMBEDDING)


def test_numbers():
    layer = AdaptiveOutput(5)
    assert (arrays(layer(INPUTS, EMBEDDING)) == 0.0).all()
    randomize(layer)
    shift, scale = (
        part[:, None] for part in np.split(EMBEDDING[:, None] + arrays(layer.scale_shift_table.value), 2, 1)
    )
    mean, variance = INPUTS.mean(-1, keepdims=True), INPUTS.var(-1, keepdims=True)
    normed = (INPUTS - mean) / np.sqrt(variance + 1e-6)
    expected = (normed * (1 + scale) + shift) @ arrays(layer.project.kernel.value) + arrays(layer.project.bias.value)
    np.testing.assert_allclose(arrays(layer(INPUTS, EMBEDDING)), expected, atol=1e-4)
