"""Laws that all samplers obey, by way of latents whose exact denoiser is known."""

import keras
import numpy as np
import pytest
from diffusion.samplers.gaussian import MEAN, STD, exact_denoiser, sampled
from harness import arrays, assert_close, first_fast, normal
from keras import ops

from latentdiff import NoiseSchedule
from latentdiff.diffusion import noise, samplers
from latentdiff.diffusion.samplers import SAMPLERS
from latentdiff.models.compilation import compile_function

ORDERS = {"ddim": 1, "euler": 1, "heun": 2, "dpmpp_2m": 2, "unipc": 3}
SCHEDULES = {
    "scaled_linear": NoiseSchedule("scaled_linear"),
    "cosine": NoiseSchedule("cosine"),
    "rectified_flow": NoiseSchedule("rectified_flow"),
    "zero_snr": NoiseSchedule("scaled_linear", zero_terminal_snr=True),
}
OF_DENOISERS = [name for name in SAMPLERS if name != "lcm"]


def flow(schedule, latents, start, end):
    """Where the probability flow takes latents from one timestep to another."""
    (signal, noise_rate), (signal_there, noise_there) = (
        [float(rate[0]) for rate in arrays(schedule.rates(np.array([time], "float32")))] for time in (start, end)
    )
    stretch = np.hypot(signal_there * STD, noise_there) / np.hypot(signal * STD, noise_rate)
    return signal_there * MEAN + stretch * (latents - signal * MEAN)


def run(sampler, schedule, num_steps, seeds=(3, 4, 5), denoiser=None):
    seeds, num_steps = np.array(seeds, "int32"), np.array(num_steps, "int32")
    first = noise.normal(seeds, (2, 2, 3))
    return arrays(sampler.sample(denoiser or exact_denoiser(schedule), schedule, first, num_steps, seeds))


# === Gaussian latents ===


@pytest.mark.parametrize(
    "kind, spacing",
    first_fast([("zero_snr", "karras"), ("rectified_flow", "trailing"), ("cosine", "trailing")]),
)
@pytest.mark.parametrize("name", OF_DENOISERS)
def test_mean_and_covariance(name, kind, spacing):
    # Stochastic samplers of first order leave out a share of the variance that falls with the number of steps.
    num_steps = 400 if name in ("ddpm", "euler_ancestral") else 100
    latents, _ = sampled(SAMPLERS[name](spacing=spacing), SCHEDULES[kind], num_steps)
    assert abs(latents.mean() - MEAN) < 0.035
    covariance = np.cov(latents.reshape(-1, 5).T)
    np.testing.assert_allclose(covariance, STD**2 * np.eye(5), atol=0.035)


@pytest.mark.parametrize("name", first_fast(reversed(SAMPLERS), 3))
def test_temperature_is_that_of_the_first_noise_alone(name):
    schedule, seeds, num_steps = SCHEDULES["cosine"], np.array([3, 4, 5], "int32"), np.array([4, 1, 6], "int32")
    denoiser, first = exact_denoiser(schedule), noise.normal(seeds, (2, 2, 3))
    received = SAMPLERS[name](temperature=0.6).sample(denoiser, schedule, first, num_steps, seeds)
    assert_close(received, SAMPLERS[name]().sample(denoiser, schedule, 0.6 * first, num_steps, seeds), 1e-5)


def test_temperature_scales_the_spread_of_gaussian_latents():
    """The flow of Gaussian latents is linear."""
    latents, _ = sampled(SAMPLERS["ddim"](temperature=0.5), SCHEDULES["zero_snr"], 100)
    assert abs(latents.mean() - MEAN) < 0.02
    assert abs(latents.std() - 0.5 * STD) < 0.02


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_temperature_must_be_above_zero(temperature):
    with pytest.raises(ValueError, match="`temperature` must be above 0"):
        SAMPLERS["ddim"](temperature=temperature)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_lcm_with_the_end_of_the_flow(kind):
    """What an LCM is distilled to answer: the end of the flow. Any number of steps then gives the right latents."""
    schedule = SCHEDULES[kind]

    def consistency(noisy_latents, timesteps):
        signal_rates, noise_rates = (ops.reshape(rates, (-1, 1, 1, 1)) for rates in schedule.rates(timesteps))
        spread = ops.sqrt(ops.square(signal_rates * STD) + ops.square(noise_rates))
        return MEAN + STD * (noisy_latents - signal_rates * MEAN) / spread, None

    seeds = np.array([11], "int32")
    for num_steps in (1, 4):
        first = noise.normal(seeds, (40, 40, 5))
        num_steps = np.array([num_steps], "int32")
        latents = arrays(SAMPLERS["lcm"]().sample(consistency, schedule, first, num_steps, seeds))
        assert abs(latents.mean() - MEAN) < 0.08 and abs(latents.std() - STD) < 0.02


@pytest.mark.parametrize("kind", first_fast(["rectified_flow", "scaled_linear"]))
@pytest.mark.parametrize("name", ORDERS)
def test_order_of_convergence(name, kind):
    """Half the step divides the error by 2 to the order. The last step, to the clean image, is left out: it is short,
    and of first order for all."""
    schedule, sampler, seeds = SCHEDULES[kind], SAMPLERS[name](spacing="karras"), np.array([1], "int32")
    denoiser, errors = exact_denoiser(schedule), []

    def advance(latents, state, index, num_steps):
        return sampler.advance(denoiser, schedule, latents, state, index, num_steps, seeds)

    compiled = compile_function(advance, keras.Model())
    for intervals in (12, 24):
        num_steps = np.array([intervals + 1], "int32")
        latents = first = normal(1, 1, 2, 2, 3) * 3.0
        state = sampler.init_state(latents)
        for index in range(intervals):
            latents, state = compiled(latents, state, np.int32(index), num_steps)
        errors.append(np.abs(arrays(latents) - flow(schedule, first, 999.0, 0.0)).max())
    order = np.log2(errors[0] / errors[1])
    assert errors[1] < (0.3 if ORDERS[name] == 1 else 0.1)
    assert order > ORDERS[name] - 0.4, (order, errors)
    assert ORDERS[name] > 1 or order < 1.5


# === One and the same ===


def test_euler_is_ddim_and_ancestral_is_ddpm():
    for kind in ("scaled_linear", "zero_snr"):
        for one, other in (("euler", "ddim"), ("euler_ancestral", "ddpm")):
            first, second = (
                run(SAMPLERS[name](spacing="trailing"), SCHEDULES[kind], [5, 8, 9]) for name in (one, other)
            )
            assert_close(first, second, 1e-6)


@pytest.mark.parametrize("spacing", first_fast(["karras", "trailing"]))
@pytest.mark.parametrize("name", first_fast(reversed(SAMPLERS), 4))
def test_row_does_not_depend_on_its_neighbours(name, spacing):
    sampler, steps, seeds = SAMPLERS[name](spacing=spacing), [1, 7, 4], [3, 4, 5]
    together = run(sampler, SCHEDULES["zero_snr"], steps, seeds)
    assert np.isfinite(together).all()
    for row in range(3):
        alone = run(sampler, SCHEDULES["zero_snr"], steps[row : row + 1], seeds[row : row + 1])
        assert_close(together[row : row + 1], alone, 1e-5)


@pytest.mark.parametrize("kind", first_fast(SCHEDULES))
@pytest.mark.parametrize("name", SAMPLERS)
def test_an_oracle_is_believed(name, kind):
    """With a denoiser that knows the latents, any number of steps ends there."""
    schedule, latents = SCHEDULES[kind], normal(7, 3, 2, 2, 3)

    def oracle(noisy_latents, timesteps):
        return schedule.split(latents, noisy_latents, timesteps, "latents")

    assert_close(run(samplers.get(name), schedule, [1, 3, 10], denoiser=oracle), latents, 1e-4)
