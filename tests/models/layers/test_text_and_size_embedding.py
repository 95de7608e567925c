import numpy as np
import pytest
from harness import arrays, check_layer, normal, randomize

from latentdiff.models.layers import TextAndSizeEmbedding

SIZES = np.array([[1024, 768, 0, 16, 1024, 1024], [512, 512, 0, 0, 512, 512]], "float32")


def test_contract():
    output = check_layer(lambda dtype: TextAndSizeEmbedding(8, 6, dtype=dtype), normal(0, 2, 5), SIZES)
    assert output.shape == (2, 6)


def test_each_size_has_waves_of_its_own():
    """The result is that of the two dense layers for the text beside cosines, then sines, of each size."""
    layer = TextAndSizeEmbedding(8, 6)
    pooled = normal(0, 2, 5)
    layer(pooled, SIZES)
    randomize(layer)
    angles = SIZES[..., None] * 10000.0 ** -(np.arange(4) / 4)  # (b, 6, 4)
    waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=-1).reshape(2, -1)
    joined = np.concatenate([pooled, waves], axis=-1).astype("float32")
    expected = layer.dense_out(layer.dense_in(joined))
    np.testing.assert_allclose(arrays(layer(pooled, SIZES)), arrays(expected), atol=1e-4)


def test_half_precision_tells_neighbouring_sizes_apart():
    layer = TextAndSizeEmbedding(8, 6, dtype="mixed_bfloat16")
    first, second = (arrays(layer(np.zeros((1, 2)), np.full((1, 6), size))).astype("float32") for size in (1023, 1024))
    assert np.abs(first - second).max() > 1e-2


def test_odd_waves():
    with pytest.raises(ValueError, match="`waves_dim` must be even. Received: waves_dim=7"):
        TextAndSizeEmbedding(7, 6)
