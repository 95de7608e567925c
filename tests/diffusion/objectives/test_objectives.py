import math

import keras
import numpy as np
import pytest
from harness import arrays

from latentdiff import NoiseSchedule
from latentdiff.diffusion import objectives
from latentdiff.diffusion.noise_schedule import PREDICTION_TYPES

COSINE, FLOW = NoiseSchedule("cosine"), NoiseSchedule("rectified_flow")
QUANTILES = ((np.arange(4000) + 0.5) / 4000).astype("float32")


def timesteps(objective, schedule):
    return arrays(objectives.get(objective).timesteps(QUANTILES, schedule))


@keras.saving.register_keras_serializable(package="tests")
class Early:
    """A distribution of the user's: the first timestep alone."""

    def timesteps(self, quantiles, noise_schedule):
        return 0.0 * quantiles

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


# === Contract ===


@pytest.mark.parametrize("objective", [*objectives.OBJECTIVES, {"distribution": Early(), "weighting": "edm"}])
@pytest.mark.parametrize("schedule", [COSINE, FLOW, NoiseSchedule("linear", zero_terminal_snr=True)])
def test_timesteps_and_weights_are_usable(objective, schedule):
    drawn = timesteps(objective, schedule)
    assert drawn.dtype == "float32"
    assert drawn.min() >= 0.0 and drawn.max() <= 999.0 and (np.diff(drawn) >= 0.0).all()
    ends = np.array([0.0, 999.0], "float32")
    for prediction_type in ("velocity", "latents"):
        weights = arrays(objectives.get(objective).weights(ends, schedule, prediction_type))
        assert weights.shape == (2,) and np.isfinite(weights).all() and (weights >= 0.0).all()


@pytest.mark.parametrize(
    "objective",
    [
        *objectives.OBJECTIVES,
        {
            "distribution": {"name": "logit_normal", "mean": 0.5, "std": 0.7},
            "weighting": {"name": "min_snr", "gamma": 2},
        },
        {"distribution": Early(), "weighting": {"name": "edm", "sigma_data": 0.5}},
    ],
)
def test_config(objective):
    made = objectives.get(objective)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert type(copy) is objectives.Objective and copy.get_config() == made.get_config()
    assert objectives.get(keras.saving.serialize_keras_object(made)).get_config() == made.get_config()
    assert objectives.get(made) is made
    np.testing.assert_array_equal(timesteps(copy, COSINE), timesteps(made, COSINE))


@pytest.mark.parametrize(
    "objective, message",
    [
        ("snr", "`objective` must be one of.*Received: objective='snr'"),
        ({"distribution": "normal"}, "`distribution` must be one of"),
        ({"weighting": {"gamma": 5.0}}, "`weighting` must be one of"),
        ({"timesteps": "uniform"}, "`objective` must have 'distribution' and 'weighting'"),
        ({"distribution": {"name": "log_normal", "std": 0.0}}, "`std` must be above 0"),
        ({"distribution": {"name": "logit_normal", "std": -1.0}}, "`std` must be above 0"),
        ({"weighting": {"name": "min_snr", "gamma": 0.0}}, "`gamma` must be above 0"),
        ({"weighting": {"name": "edm", "sigma_data": 0.0}}, "`sigma_data` must be above 0"),
    ],
)
def test_wrong_objectives(objective, message):
    with pytest.raises(ValueError, match=message):
        objectives.get(objective)


# === Laws ===


def test_uniform_timesteps_are_whole_and_alike():
    counts = np.bincount(timesteps("ddpm", COSINE).astype(int), minlength=1000)
    assert (counts == 4).all()


def test_logit_normal():
    """The logit of the noise rate of a rectified flow is Gaussian."""
    drawn = timesteps({"distribution": {"name": "logit_normal", "mean": -0.5, "std": 0.8}}, FLOW)
    share = (drawn + 1.0) / 1000.0
    logits = np.log(share / (1.0 - share))[20:-20]
    expected = -0.5 + 0.8 * gaussian(QUANTILES)[20:-20]
    np.testing.assert_allclose(logits, expected, atol=2e-3)


@pytest.mark.parametrize("schedule", [COSINE, FLOW])
def test_log_normal(schedule):
    """The logarithm of noise rate over signal rate is Gaussian; for EDM's images of half the size it has its mean."""
    signal, noise = arrays(schedule.rates(timesteps({"distribution": "log_normal"}, schedule)))
    middle = slice(600, -200)
    logs = np.log(noise / np.maximum(signal, 1e-9))
    np.testing.assert_allclose(logs[middle], (-0.507 + 1.2 * gaussian(QUANTILES))[middle], atol=5e-3)
    assert abs(-0.507 - (-1.2 + math.log(2.0))) < 1e-3


def gaussian(quantiles):
    from statistics import NormalDist

    return np.array([NormalDist().inv_cdf(float(quantile)) for quantile in quantiles])


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("weighting", ["min_snr", "edm"])
def test_weights_mean_the_same_for_every_prediction(prediction_type, weighting):
    """The weighted error of a prediction is that of the clean latents that it implies."""
    rng, times = np.random.default_rng(0), np.array([10.0, 500.0, 900.0], "float32")
    latents, noise, error = rng.standard_normal((3, 3, 2, 2, 1)).astype("float32")
    noisy = arrays(COSINE.add_noise(latents, noise, times))
    target = arrays(COSINE.target(latents, noise, times, prediction_type))
    prediction = target + 0.1 * error
    implied = arrays(COSINE.split(prediction, noisy, times, prediction_type)[0])
    objective = objectives.get({"weighting": weighting})
    of_prediction = arrays(objective.weights(times, COSINE, prediction_type)) * ((prediction - target) ** 2).mean(
        (1, 2, 3)
    )
    of_latents = arrays(objective.weights(times, COSINE, "latents")) * ((implied - latents) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(of_prediction, of_latents, rtol=1e-2)


def test_edm_weights_are_those_of_velocity_alone():
    """For data of standard deviation 1 under a schedule that preserves variance."""
    times = np.array([1.0, 400.0, 998.0], "float32")
    weights = arrays(objectives.get("edm").weights(times, COSINE, "velocity"))
    np.testing.assert_allclose(weights, 1.0, rtol=1e-3)
    sigmas = np.divide(*arrays(COSINE.rates(times))[::-1])
    small = arrays(objectives.get({"weighting": {"name": "edm", "sigma_data": 0.5}}).weights(times, COSINE, "latents"))
    np.testing.assert_allclose(small, (sigmas**2 + 0.25) / (0.5 * sigmas) ** 2, rtol=1e-3)
