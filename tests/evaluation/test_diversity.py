import numpy as np
import pytest
from keras import ops

from latentdiff.evaluation import diversity


def mean_difference(a, b):
    return ops.mean(ops.abs(a - b), axis=(1, 2, 3))


def test_mean_over_all_pairs():
    grey = np.array([0, 51, 255], "uint8")
    images = np.broadcast_to(grey[:, None, None, None], (3, 4, 4, 3))
    # 255 levels are a difference of 2: pairs 51, 255 and 204 levels apart.
    assert diversity(mean_difference, images, batch_size=2) == pytest.approx((51 + 255 + 204) / 3 * 2 / 255, rel=1e-5)
    assert diversity(mean_difference, images[[1, 1, 1]]) == 0
    with pytest.raises(ValueError, match="`images` must hold two images.*Received: 1"):
        diversity(mean_difference, images[:1])
