import numpy as np
import pytest
from diffusion.samplers.gaussian import MEAN, STD, exact_denoiser, sampled
from diffusion.samplers.trajectories import assert_golden
from harness import arrays, first_fast, normal

from latentdiff import NoiseSchedule
from latentdiff.diffusion.noise_schedule import PREDICTION_TYPES
from latentdiff.diffusion.samplers import DDPM
from latentdiff.diffusion.samplers.sampler import Moment

SCHEDULE = NoiseSchedule("scaled_linear")


# === Laws ===


@pytest.mark.parametrize("kind", ["cosine", "rectified_flow"])
def test_gaussian(kind):
    latents, first = sampled(DDPM(), NoiseSchedule(kind), 300)
    assert abs(latents.mean() - MEAN) < 0.03
    assert abs(latents.std() - STD) < 0.02
    # The latents have forgotten the noise that they started from.
    assert abs(np.corrcoef(latents.ravel(), first.ravel())[0, 1]) < 0.06


def test_a_step_is_the_posterior():
    """Equations 6 and 7 of arXiv:2006.11239, written with alpha, beta and alpha_bar."""
    here, there = (Moment(SCHEDULE, np.array([time], "float32")) for time in (601, 600))
    bar, previous_bar = (float(arrays(moment.signal_rates).item()) ** 2 for moment in (here, there))
    beta = 1 - bar / previous_bar
    noisy_latents, draws = normal(1, 1, 2, 2, 3), normal(2, 1, 2, 2, 3)
    denoiser = exact_denoiser(SCHEDULE)
    pred_latents = arrays(denoiser(noisy_latents, here.timesteps)[0])
    mean = previous_bar**0.5 * beta / (1 - bar) * pred_latents
    mean = mean + (1 - beta) ** 0.5 * (1 - previous_bar) / (1 - bar) * noisy_latents
    std = ((1 - previous_bar) / (1 - bar) * beta) ** 0.5
    moved, _ = DDPM().step(denoiser, noisy_latents, (), here, there, lambda: draws)
    np.testing.assert_allclose(arrays(moved), mean + std * draws, atol=1e-4)
    assert std > 0.05


# === Golden ===


@pytest.mark.parametrize("spacing", first_fast(["trailing", "leading", "linspace"]))
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_diffusers(monkeypatch, prediction_type, spacing):
    assert_golden(monkeypatch, DDPM(spacing), SCHEDULE, "ddpm", prediction_type, spacing)
