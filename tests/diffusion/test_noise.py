import math

import keras
import numpy as np
import pytest
from harness import arrays, assert_close, check_compiled
from keras import ops

from latentdiff.diffusion import noise
from latentdiff.settings.table import MAX_SEED


def draw(seeds, shape=(4096,), stream=0):
    return arrays(noise.normal(np.asarray(seeds, "int32"), shape, stream))


# === Contract ===


def test_shape_and_dtype():
    draws = noise.normal(np.array([0, MAX_SEED], "int32"), (3, 2, 4))
    assert draws.shape == (2, 3, 2, 4)
    assert keras.backend.standardize_dtype(draws.dtype) == "float32"
    assert np.isfinite(arrays(draws)).all()


def test_a_row_depends_on_its_own_seed_alone():
    batch = draw([5, 9, 5])
    np.testing.assert_array_equal(batch[0], batch[2])
    np.testing.assert_array_equal(batch[1], draw([9])[0])


def test_streams_may_differ_by_row():
    batch = draw([5, 5], stream=np.array([0, 3], "int32"))
    np.testing.assert_array_equal(batch[0], draw([5])[0])
    np.testing.assert_array_equal(batch[1], draw([5], stream=3)[0])


def test_compiled_equals_eager():
    seeds = ops.convert_to_tensor(np.array([1, 77], "int32"))
    check_compiled(lambda seeds: noise.normal(seeds, (500,)), keras.Model(), seeds, tolerance=1e-6)


def test_a_larger_draw_starts_with_the_smaller_one():
    assert_close(draw([3], (100,)), draw([3], (4096,))[:, :100], 0.0)


# === Laws ===


@pytest.mark.parametrize("seed", [0, 1, 2, 12345, MAX_SEED])
def test_moments(seed):
    values = draw([seed], (200_000,))[0].astype("float64")
    error = 5 / math.sqrt(len(values))  # five standard errors
    assert abs(values.mean()) < error
    assert abs((values**2).mean() - 1) < error * math.sqrt(2)
    assert abs((values**3).mean()) < error * math.sqrt(15)
    assert abs((values**4).mean() - 3) < error * math.sqrt(96)


def test_distribution():
    """Kolmogorov and Smirnov: the largest gap to the normal distribution function, level 1e-4."""
    values = np.sort(draw(range(50), (2000,)).ravel())
    expected = np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in values[::10]])
    gap = np.abs(expected - (np.arange(len(values))[::10] + 0.5) / len(values)).max()
    assert gap < 2.23 / math.sqrt(len(values)) + 10 / len(values)


def correlations(first, second):
    return np.abs((first * second).mean(axis=-1))


@pytest.mark.parametrize("step", [1, 2, 256, 65536])
def test_seeds_are_independent(step):
    rows = draw(np.arange(60) * step)
    assert correlations(rows[1:], rows[:-1]).max() < 5 / math.sqrt(4096)


def test_streams_are_independent():
    rows = np.concatenate([draw([7], stream=stream) for stream in range(60)])
    assert correlations(rows[1:], rows[:-1]).max() < 5 / math.sqrt(4096)
    other_seeds = draw(range(8, 68))  # a stream is no other seed under another name
    assert max(correlations(seed[None], rows).max() for seed in other_seeds) < 5.5 / math.sqrt(4096)


@pytest.mark.parametrize("lag", [1, 2, 3, 32, 1024])
def test_places_are_independent(lag):
    values = draw(range(20), (8192,))
    assert abs((values[:, lag:] * values[:, :-lag]).mean()) < 5 / math.sqrt(20 * 8000)


def test_first_numbers_of_neighbouring_seeds_are_spread():
    """The first number over many seeds is Gaussian too, as the numbers of one seed are."""
    values = np.sort(draw(range(20_000), (1,)).ravel())
    expected = np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in values])
    assert np.abs(expected - (np.arange(len(values)) + 0.5) / len(values)).max() < 2.23 / math.sqrt(len(values))


# === Golden ===


def test_numbers_do_not_change():
    """Plain Python integers, written from the docstring of the module: an image's seed is a promise."""

    def mix(bits):
        bits = ((bits ^ bits >> 16) * 0x85EBCA6B) & 0xFFFFFFFF
        bits = ((bits ^ bits >> 13) * 0xC2B2AE35) & 0xFFFFFFFF
        return bits ^ bits >> 16

    def number(seed, stream, index):
        key = mix((seed + mix((stream * 0x9E3779B9 + 1) & 0xFFFFFFFF)) & 0xFFFFFFFF)
        first = mix((mix((key + index * 0x61C88647) & 0xFFFFFFFF) + key) & 0xFFFFFFFF)
        second = mix((first + 0x6A09E667) & 0xFFFFFFFF)
        one, two = (((bits >> 9) + 0.5) * 2.0**-23 for bits in (first, second))
        return math.sqrt(-2 * math.log(one)) * math.cos(2 * math.pi * two)

    for seed, stream in [(0, 0), (7, 0), (7, 1), (MAX_SEED, 50)]:
        expected = [number(seed, stream, index) for index in range(300)]
        np.testing.assert_allclose(draw([seed], (300,), stream)[0], expected, atol=2e-6)


# === Between two draws ===


def test_interpolation_keeps_the_strength():
    first, second = draw([1, 2], (8, 8, 16))
    halves = arrays(noise.interpolate(np.stack([first] * 5), second, np.linspace(0, 1, 5)))
    assert_close(halves[[0, 4]], np.stack([first, second]), 1e-5)
    np.testing.assert_allclose(halves.std(axis=(1, 2, 3)), 1.0, atol=0.05)
    assert_close(halves[2], arrays(noise.interpolate(second, first, 0.5)), 1e-5)
    angles = [np.arccos(np.corrcoef(halves[row].ravel(), first.ravel())[0, 1]) for row in range(5)]
    np.testing.assert_allclose(np.diff(angles[1:]), angles[4] / 4, atol=0.02)


def test_interpolation_between_equal_draws():
    (first,) = draw([1], (2, 2, 3))
    assert_close(noise.interpolate(first, first, 0.3), first, 1e-4)
