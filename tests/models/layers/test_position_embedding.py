import numpy as np
import pytest
from harness import arrays, check_layer, normal

from latentdiff.models.layers import PositionEmbedding


def test_contract():
    check_layer(lambda dtype: PositionEmbedding(dtype=dtype), normal(0, 2, 3, 5, 8))


def test_rows_and_columns():
    """Half of the channels knows the column alone, half the row alone; at the first place sines are 0 and cosines 1."""
    embedding = arrays(PositionEmbedding()(np.zeros((1, 3, 5, 8), "float32")))[0]
    np.testing.assert_allclose(embedding[0, 0], [0, 0, 1, 1] * 2, atol=1e-6)
    assert np.ptp(embedding[..., :4], axis=0).max() < 1e-6
    assert np.ptp(embedding[..., 4:], axis=1).max() < 1e-6
    np.testing.assert_allclose(embedding[0, 3, :4], [np.sin(3), np.sin(0.03), np.cos(3), np.cos(0.03)], atol=1e-5)


def test_wrong_channels():
    with pytest.raises(ValueError, match="channels divisible by 4"):
        PositionEmbedding()(np.zeros((1, 2, 2, 6), "float32"))
