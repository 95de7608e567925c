import numpy as np
import pytest

from latentdiff.evaluation import FrechetDistance


def samples(seed, n, covariance, mean=0.0):
    return np.random.default_rng(seed).multivariate_normal(np.full(len(covariance), mean), covariance, n)


def measure(real, generated, batch=7):
    distance = FrechetDistance()
    for start in range(0, len(real), batch):
        distance.update_real(real[start : start + batch])
    for start in range(0, len(generated), batch):
        distance.update_generated(generated[start : start + batch])
    return distance.result()


def square_root(matrix, steps=40):
    """Denman-Beavers iteration: the principal square root of a matrix without eigenvalues."""
    y, z = matrix, np.eye(len(matrix))
    for _ in range(steps):
        y, z = (y + np.linalg.inv(z)) / 2, (z + np.linalg.inv(y)) / 2
    return y


def random_covariance(seed, dim=6):
    factor = np.random.default_rng(seed).normal(size=(dim, dim))
    return factor @ factor.T + 0.1 * np.eye(dim)


def test_agrees_with_the_matrix_square_root():
    real, generated = samples(0, 300, random_covariance(0)), samples(1, 200, random_covariance(1), mean=0.7)
    c_r, c_g = np.cov(real.T), np.cov(generated.T)
    expected = np.sum((real.mean(0) - generated.mean(0)) ** 2) + np.trace(c_r + c_g - 2 * square_root(c_r @ c_g))
    result = measure(real, generated)
    np.testing.assert_allclose(result.value, expected, rtol=1e-8)
    assert (result.num_real, result.num_generated) == (300, 200)
    np.testing.assert_allclose(measure(real, generated, batch=1000).value, expected, rtol=1e-8)


def test_known_gaussians():
    """Diagonal Gaussians: |difference of means|^2 + sum (std_r - std_g)^2."""
    stds_r, stds_g = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 0.5])
    real, generated = samples(0, 200_000, np.diag(stds_r**2)), samples(1, 200_000, np.diag(stds_g**2), mean=1.0)
    expected = 3 * 1.0 + np.sum((stds_r - stds_g) ** 2)
    np.testing.assert_allclose(measure(real, generated, batch=50_000).value, expected, rtol=0.02)


def test_same_features_have_no_distance_even_when_fewer_than_dimensions():
    few = np.random.default_rng(0).normal(size=(10, 40))
    assert abs(measure(few, few).value) < 1e-10


def test_a_shift_costs_its_square_and_large_means_lose_nothing():
    real = samples(0, 500, random_covariance(3)) + 1000
    np.testing.assert_allclose(measure(real, real + 2).value, 6 * 4, rtol=1e-8)


def test_reset_generated():
    real, generated = samples(0, 50, random_covariance(0)), samples(1, 40, random_covariance(1))
    distance = FrechetDistance()
    distance.update_real(real)
    distance.update_generated(real)
    distance.reset_generated()
    distance.update_generated(generated)
    np.testing.assert_allclose(distance.result().value, measure(real, generated).value)


def test_real_pictures_may_be_added_later():
    real, generated = samples(0, 50, random_covariance(0)), samples(1, 40, random_covariance(1))
    distance = FrechetDistance()
    distance.update_real(real[:20])
    distance.update_generated(generated)
    distance.result()
    distance.update_real(real[20:])
    np.testing.assert_allclose(distance.result().value, measure(real, generated).value)


def test_errors():
    distance = FrechetDistance()
    distance.update_real(np.zeros((2, 3)))
    distance.update_generated(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="`update_generated`.*Received: 0"):
        distance.result()
    with pytest.raises(ValueError, match="`features`.*Received"):
        distance.update_real(np.zeros((2, 3, 4)))
