import numpy as np
import pytest
from diffusion.samplers.gaussian import MEAN, STD, sampled
from diffusion.samplers.trajectories import assert_golden
from harness import arrays, normal

from latentdiff import NoiseSchedule
from latentdiff.diffusion.noise_schedule import PREDICTION_TYPES
from latentdiff.diffusion.samplers import DDIM
from latentdiff.diffusion.samplers.sampler import Moment

SCHEDULE = NoiseSchedule("scaled_linear")


# === Laws ===


def test_one_step_of_an_oracle_returns_the_image():
    latents, start = normal(1, 2, 2, 2, 3), normal(2, 2, 2, 2, 3)

    def oracle(noisy_latents, timesteps):
        return latents, start

    here, there = (Moment(SCHEDULE, np.array([time, time], "float32")) for time in (999, -1))
    noisy_latents = SCHEDULE.add_noise(latents, start, here.timesteps)
    moved, state = DDIM().step(oracle, noisy_latents, (), here, there, draws=None)
    np.testing.assert_array_equal(arrays(moved), latents)
    assert state == ()
    # And half way it is on the path from the one to the other.
    there = Moment(SCHEDULE, np.array([500.0, 500.0], "float32"))
    moved, _ = DDIM().step(oracle, noisy_latents, (), here, there, draws=None)
    np.testing.assert_allclose(arrays(moved), arrays(SCHEDULE.add_noise(latents, start, there.timesteps)), atol=1e-6)


@pytest.mark.parametrize("kind", ["scaled_linear", "cosine", "rectified_flow"])
def test_converges_to_the_probability_flow_at_first_order(kind):
    """For Gaussian latents the flow is affine: it maps the noise n at the start to MEAN + STD n, scaled by where it
    starts. Four times the steps leave a quarter of the error."""
    schedule = NoiseSchedule(kind)
    signal_rate, noise_rate = (float(rate[0]) for rate in arrays(schedule.rates(np.array([999.0], "float32"))))
    errors = []
    for num_steps in (20, 80):
        latents, first = sampled(DDIM(), schedule, num_steps, size=(4, 4, 5))
        exact = MEAN + STD * (first - signal_rate * MEAN) / np.hypot(signal_rate * STD, noise_rate)
        errors.append(np.abs(latents - exact).max())
    assert errors[0] < 0.25
    assert 3.0 < errors[0] / errors[1] < 6.0


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_gaussian(eta):
    latents, _ = sampled(DDIM(eta), NoiseSchedule("cosine"), 200)
    assert abs(latents.mean() - MEAN) < 0.03
    assert abs(latents.std() - STD) < 0.02


def test_fresh_noise_is_that_of_its_seed():
    latents = np.repeat(normal(0, 1, 2, 2, 3), 2, axis=0)

    def denoiser(noisy_latents, timesteps):
        return 0.5 * noisy_latents, noisy_latents

    def run(*seeds):
        num_steps, seeds = np.array([3, 3], "int32"), np.array(seeds, "int32")
        return arrays(DDIM(1.0).sample(denoiser, SCHEDULE, latents, num_steps, seeds))

    np.testing.assert_array_equal(run(1, 2), run(1, 2))
    np.testing.assert_array_equal(run(1, 2), run(2, 1)[::-1])
    assert np.abs(run(1, 2)[0] - run(1, 2)[1]).min() > 1e-4


# === Golden ===


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_diffusers(monkeypatch, eta, prediction_type, spacing):
    assert_golden(monkeypatch, DDIM(eta, spacing), SCHEDULE, f"ddim_{eta}", prediction_type, spacing)


def test_diffusers_from_terminal_snr_zero(monkeypatch):
    schedule = NoiseSchedule("scaled_linear", zero_terminal_snr=True)
    assert_golden(monkeypatch, DDIM(), schedule, "ddim_zero_snr", "velocity", "trailing")
