"""DDIM taken back: from latents to the noise that they are made of."""

import keras
import numpy as np
import pytest
from diffusion.samplers.gaussian import MEAN, STD, exact_denoiser
from harness import arrays, first_fast, normal
from keras import ops

from latentdiff import NoiseSchedule
from latentdiff.diffusion.samplers import DDIM, SAMPLERS
from latentdiff.models.compilation import compile_function

SCHEDULES = {
    "cosine": NoiseSchedule("cosine"),
    "rectified_flow": NoiseSchedule("rectified_flow"),
    "zero_snr": NoiseSchedule("scaled_linear", zero_terminal_snr=True),
}
STEPS = np.array([50, 20, 8], "int32")
LATENTS = (MEAN + STD * normal(0, 3, 4, 4, 3)).astype("float32")


def bent_denoiser(schedule):
    """One that is not linear."""

    def denoiser(noisy_latents, timesteps):
        signal_rates, _ = (ops.reshape(rates, (-1, 1, 1, 1)) for rates in schedule.rates(timesteps))
        pred_latents = signal_rates * noisy_latents + 0.3 * ops.tanh(noisy_latents)
        return schedule.split(pred_latents, noisy_latents, timesteps, "latents")

    return denoiser


def there_and_back(sampler, schedule, denoiser, num_iterations):
    def run(latents):
        noise = sampler.invert(denoiser(schedule), schedule, latents, STEPS, num_iterations)
        return noise, sampler.sample(denoiser(schedule), schedule, noise, STEPS, np.zeros(3, "int32"))

    return (arrays(part) for part in compile_function(run, keras.Model())(LATENTS))


@pytest.mark.slow
@pytest.mark.parametrize("denoiser", first_fast([bent_denoiser, exact_denoiser]))
@pytest.mark.parametrize("kind", first_fast(SCHEDULES))
@pytest.mark.parametrize("name", first_fast(["ddim", "euler"]))
def test_sampling_undoes_it(name, kind, denoiser):
    """For each row in its own number of steps, and better with more iterations."""
    errors = []
    for num_iterations in (1, 3, 12):
        _, back = there_and_back(SAMPLERS[name](), SCHEDULES[kind], denoiser, num_iterations)
        errors.append(np.abs(back - LATENTS).max(axis=(1, 2, 3)))
    assert (errors[1] < 0.7 * errors[0]).all()
    assert errors[2].max() < 0.02 and errors[2][0] < 2e-3


@pytest.mark.slow
def test_sampling_undoes_it_at_another_temperature():
    noise, back = there_and_back(DDIM(temperature=0.5), SCHEDULES["cosine"], bent_denoiser, 12)
    np.testing.assert_allclose(back, LATENTS, atol=0.02)
    plain, _ = there_and_back(DDIM(), SCHEDULES["cosine"], bent_denoiser, 12)
    np.testing.assert_allclose(noise, 2.0 * plain, rtol=1e-5)


@pytest.mark.parametrize("kind", first_fast(SCHEDULES))
def test_noise_is_that_of_the_flow(kind):
    """For Gaussian latents the flow is known: it standardizes them."""
    schedule = SCHEDULES[kind]
    noise, _ = there_and_back(DDIM(), schedule, exact_denoiser, 5)
    signal_rate, noise_rate = (float(rate) for rate in arrays(schedule.rates(np.float32(999.0))))
    expected = signal_rate * MEAN + np.hypot(signal_rate * STD, noise_rate) * (LATENTS - MEAN) / STD
    gaps = np.abs(noise - expected).max(axis=(1, 2, 3))
    assert gaps[0] < gaps[1] < gaps[2] and gaps[0] < 0.15


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`eta` must be 0.*Received: eta=0.5"):
        DDIM(0.5).invert(None, None, None, None)
    with pytest.raises(ValueError, match="`num_iterations` must be at least 1"):
        DDIM().invert(None, None, None, None, 0)
