"""Averages by power functions: what they weigh, and how others are made of them."""

import keras
import numpy as np
import pytest
from harness import arrays

from latentdiff.models.power_averages import PowerAveragedAdamW, exponent, mixing_coefficients


def averaged(path, length):
    """The average of the values of a path by a power function, summed up as its definition says."""
    steps, gamma = np.arange(1, len(path) + 1), exponent(length)
    shares = (steps / len(path)) ** (gamma + 1) - ((steps - 1) / len(path)) ** (gamma + 1)  # its integral over a step
    return shares @ path


def path_of_weights(count):
    """A curved path with noise on it, float64 (count, 3)."""
    times, rng = np.linspace(0.0, 1.0, count)[:, None], np.random.default_rng(0)
    return np.sin(times * [1.0, 3.0, 7.0]) + 0.3 * rng.normal(size=(count, 3))


@pytest.mark.parametrize("length", [0.01, 0.05, 0.1, 0.25])
def test_the_length_is_the_standard_deviation_of_the_function(length):
    times = (np.arange(200_000) + 0.5) / 200_000
    density = times ** exponent(length)
    mean = (density @ times) / density.sum()
    assert np.sqrt(density @ (times - mean) ** 2 / density.sum()) == pytest.approx(length, rel=1e-4)


@pytest.mark.parametrize("length", [0.0, 0.3, -1.0])
def test_no_function_has_such_a_length(length):
    with pytest.raises(ValueError, match="`length` must lie between 0 and 0.288. Received: length="):
        exponent(length)


def test_the_optimizer_averages_the_weights_that_it_made():
    weight = keras.Variable(np.ones(3, "float32"))
    optimizer = PowerAveragedAdamW(0.1, average_lengths=(0.05, 0.25), use_ema=True)
    optimizer.build([weight])
    path, rng = [], np.random.default_rng(1)
    for _ in range(60):
        optimizer.apply([keras.ops.convert_to_tensor(rng.normal(size=3).astype("float32"))])
        path.append(arrays(weight.value))
    for length, (average,) in zip((0.05, 0.25), optimizer.power_averages, strict=True):
        np.testing.assert_allclose(arrays(average.value), averaged(np.stack(path), length), atol=2e-2)
    copy = PowerAveragedAdamW.from_config(optimizer.get_config())
    assert copy.exponents == optimizer.exponents


@pytest.mark.parametrize("length", [0.03, 0.07, 0.15])
def test_kept_averages_make_those_of_other_lengths(length):
    path = path_of_weights(4000)
    ends, lengths = np.repeat(np.arange(250, 4001, 250), 2), np.tile([0.05, 0.1], 16)
    kept = np.stack([averaged(path[:end], each) for end, each in zip(ends, lengths, strict=True)])
    mixed = mixing_coefficients(ends, lengths, 4000, length) @ kept
    expected = averaged(path, length)
    nearest = averaged(path, 0.05 if length < 0.06 else 0.1)
    assert np.abs(mixed - expected).max() < 0.2 * np.abs(nearest - expected).max()


def test_an_average_that_was_kept_is_itself():
    coefficients = mixing_coefficients([10, 10, 20, 20], [0.05, 0.1] * 2, 20, 0.05)
    np.testing.assert_allclose(coefficients, [0, 0, 1, 0], atol=1e-9)
