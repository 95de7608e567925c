import numpy as np
import pytest
from keras import ops

from latentdiff.evaluation import paired_distances


def mean_difference(a, b):
    return ops.mean(ops.abs(a - b), axis=(1, 2, 3))


def random_images(seed, n=5):
    return np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3)).astype("uint8")


@pytest.mark.parametrize("batch_size", [2, 32])
def test_each_pair_gets_its_distance(batch_size):
    a, b = random_images(0), random_images(1)
    distances = paired_distances(mean_difference, a, b, batch_size)
    assert distances.shape == (5,) and distances.dtype == np.float32
    np.testing.assert_allclose(distances, np.abs(a / 127.5 - b / 127.5).mean((1, 2, 3)), rtol=1e-5)


def test_errors():
    a = random_images(0)
    for other in (a[:-1], a.astype("float32")):
        with pytest.raises(ValueError, match="`images_a` and `images_b` must be uint8 of one shape"):
            paired_distances(mean_difference, a, other)
    with pytest.raises(ValueError, match="at least one image"):
        paired_distances(mean_difference, a[:0], a[:0])
