import numpy as np
import pytest

from latentdiff.evaluation import KID


def features(seed, n, dim=5, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, (n, dim))


def double_loop(x, y):
    """The estimator as the paper prints it, one pair at a time."""

    def kernel(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    m, n = len(x), len(y)
    within_x = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    within_y = sum(kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return within_x + within_y - 2 * sum(kernel(a, b) for a in x for b in y) / (m * n)


@pytest.mark.parametrize("block_size", [4, 1000])
def test_agrees_with_double_loop(block_size):
    real, generated = features(0, 23), features(1, 17, shift=0.5)
    kid = KID(block_size=block_size)
    kid.update_real(real[:10])
    kid.update_real(real[10:])
    kid.update_generated(generated)
    result = kid.result()
    np.testing.assert_allclose(result.value, double_loop(real, generated), rtol=1e-10)
    assert (result.num_real, result.num_generated, result.std) == (23, 17, None)


def test_reset_generated():
    real, generated = features(0, 9), features(1, 8)
    kid = KID()
    kid.update_real(real[:5])
    for first, second in [(features(2, 6), 5), (generated, 9)]:
        kid.update_real(real[5:second])
        kid.update_generated(first)
        expected = double_loop(real[:second], first)
        np.testing.assert_allclose(kid.result().value, expected, rtol=1e-10)
        kid.reset_generated()


def test_subsets():
    real, generated = features(0, 30), features(1, 20)
    whole, subsets = KID(), KID(subset_size=10, num_subsets=400)
    for kid in (whole, subsets):
        kid.update_real(real)
        kid.update_generated(generated)
    mean = subsets.result()
    assert mean.std > 0
    assert abs(mean.value - whole.result().value) < 4 * mean.std / 400**0.5
    assert subsets.result() == mean


def test_is_unbiased():
    """Two samples of one distribution: zero on average, sometimes below zero, whatever their number."""
    values = []
    for seed in range(200):
        kid = KID()
        kid.update_real(features(2 * seed, 8))
        kid.update_generated(features(2 * seed + 1, 5))
        values.append(kid.result().value)
    assert min(values) < 0
    assert abs(np.mean(values)) < 3 * np.std(values) / len(values) ** 0.5


def test_known_distributions():
    """One-dimensional unit Gaussians with means 0 and 1.

    With (x y + 1)^3 = 1 + 3 xy + 3 x^2 y^2 + x^3 y^3 the squared distance is the sum over the moments of
    (1, 3, 3, 1) x (difference of the moment)^2: moments (0, 1, 0) and (1, 2, 4) give 3 + 3 + 16 = 22.
    """
    kid = KID()
    kid.update_real(features(0, 5_000, dim=1))
    kid.update_generated(features(1, 5_000, dim=1, shift=1.0))
    np.testing.assert_allclose(kid.result().value, 22, rtol=0.15)


def test_errors():
    with pytest.raises(ValueError, match="`subset_size`.*Received: subset_size=1"):
        KID(subset_size=1)
    kid = KID(subset_size=10)
    kid.update_real(features(0, 10))
    kid.update_generated(features(0, 9))
    with pytest.raises(ValueError, match="`update_generated`.*10 images.*Received: 9"):
        kid.result()
    with pytest.raises(ValueError, match="`update_real`.*Received: 0"):
        KID().result()
    with pytest.raises(ValueError, match="`features`"):
        kid.update_real(np.zeros(3))
