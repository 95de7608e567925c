"""Sampling that begins part-way, from latents that are covered with some of the noise."""

import functools

import keras
import numpy as np
import pytest
from diffusion.samplers.gaussian import MEAN, STD, exact_denoiser
from harness import arrays, assert_close, first_fast, normal

from latentdiff import NoiseSchedule
from latentdiff.diffusion import noise
from latentdiff.diffusion.denoiser import KnownRegion
from latentdiff.diffusion.samplers import SAMPLERS
from latentdiff.models.compilation import compile_function

SCHEDULES = {kind: NoiseSchedule(kind) for kind in ("scaled_linear", "rectified_flow")}
SEEDS = np.array([3, 4, 5], "int32")


@functools.lru_cache(maxsize=1)
def compiled(sampler, schedule, shape):
    """Function (latents, noise, num_steps, seeds, first_step) -> latents, for latents of this shape of an image."""

    def edit(latents, noise, num_steps, seeds, first_step):
        noisy_latents = sampler.start(schedule, latents, noise, num_steps, first_step)
        return sampler.sample(exact_denoiser(schedule), schedule, noisy_latents, num_steps, seeds, first_step)

    return compile_function(edit, keras.Model())


def run(sampler, schedule, num_steps, first_step, seeds=SEEDS, latents=None):
    latents = normal(0, len(seeds), 2, 2, 3) if latents is None else latents
    num_steps, first_step = np.array(num_steps, "int32"), np.array(first_step, "float32")
    draws = noise.normal(seeds, latents.shape[1:])
    return arrays(compiled(sampler, schedule, latents.shape[1:])(latents, draws, num_steps, seeds, first_step)), arrays(
        draws
    )


@pytest.mark.parametrize("kind", first_fast(SCHEDULES))
@pytest.mark.parametrize("name", first_fast(reversed(SAMPLERS), 4))
def test_the_two_ends(name, kind):
    """Beginning at the end changes no bit; beginning at the beginning is sampling from the noise."""
    sampler, schedule, latents = SAMPLERS[name](), SCHEDULES[kind], normal(0, 3, 2, 2, 3)
    num_steps = np.array([4, 1, 6], "int32")
    received, draws = run(sampler, schedule, num_steps, num_steps)
    np.testing.assert_array_equal(received, latents)
    received, draws = run(sampler, schedule, num_steps, [0.0, 0.0, 0.0])
    assert_close(received, sampler.sample(exact_denoiser(schedule), schedule, draws, num_steps, SEEDS), 1e-5)


def test_temperature_leaves_alone_what_begins_part_way():
    first_step = [0.0, 0.5, 2.0]
    cold, plain = (
        run(SAMPLERS["dpmpp_2m"](temperature=temperature), SCHEDULES["scaled_linear"], [4, 4, 4], first_step)[0]
        for temperature in (0.5, 1.0)
    )
    np.testing.assert_array_equal(cold[1:], plain[1:])
    assert np.abs(cold[0] - plain[0]).max() > 0.1


@pytest.mark.parametrize("name", ["ddim", "ddpm", "heun", "lcm"])
def test_beginning_where_another_run_has_come_to(name):
    """The rest of a way is that way, the fresh noise included (for samplers that remember nothing)."""
    sampler, schedule = SAMPLERS[name](), SCHEDULES["scaled_linear"]
    num_steps, denoiser = np.array([4, 5, 6], "int32"), exact_denoiser(SCHEDULES["scaled_linear"])
    first = latents = normal(0, 3, 2, 2, 3)
    for step in range(2):
        latents, _ = sampler.advance(denoiser, schedule, latents, (), step, num_steps, SEEDS)
    rest = sampler.sample(denoiser, schedule, latents, num_steps, SEEDS, first_step=2.0)
    assert_close(rest, sampler.sample(denoiser, schedule, first, num_steps, SEEDS), 1e-5)


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace", "karras"])
def test_between_two_steps_lies_a_time_between(spacing):
    sampler, schedule = SAMPLERS["ddim"](spacing=spacing), SCHEDULES["scaled_linear"]
    places = np.array([0.0, 1.0, 1.25, 2.0, 9.0, 9.5, 10.0], "float32")
    times = arrays(sampler.timesteps(places, np.full(7, 10, "int32"), schedule))
    np.testing.assert_allclose(times[2], 0.75 * times[1] + 0.25 * times[3], rtol=1e-6)
    np.testing.assert_allclose(times[5], 0.5 * times[4] - 0.5, rtol=1e-6, atol=1e-6)
    assert times[-1] == -1.0 and (np.diff(times) < 0).all()


@pytest.mark.parametrize("spacing", ["leading", "linspace", "karras"])
def test_lcm_takes_latents_as_they_are_in_front_of_the_first_timestep(spacing):
    schedule, latents = SCHEDULES["scaled_linear"], normal(0, 3, 2, 2, 3)
    received, draws = run(SAMPLERS["lcm"](spacing=spacing), schedule, [4, 4, 4], [3.2, 3.5, 3.9])
    assert_close(received, schedule.add_noise(latents, draws, np.array([-0.2, -0.5, -0.9], "float32")), 1e-4)


@pytest.mark.parametrize("name", first_fast(reversed(SAMPLERS), 4))
def test_row_does_not_depend_on_its_neighbours(name):
    num_steps, first_step = [5, 8, 5], [3.5, 0.0, 5.0]
    together, _ = run(SAMPLERS[name](), SCHEDULES["rectified_flow"], num_steps, first_step)
    latents = normal(0, 3, 2, 2, 3)[:1]
    alone, _ = run(SAMPLERS[name](), SCHEDULES["rectified_flow"], num_steps[:1], first_step[:1], SEEDS[:1], latents)
    assert_close(together[:1], alone, 1e-5)


@pytest.mark.parametrize("kind", first_fast(reversed(SCHEDULES)))
@pytest.mark.parametrize("name", first_fast(reversed(SAMPLERS), 3))
def test_what_is_known_is_kept(name, kind):
    """In a known region every sampler ends at what is there; elsewhere it does what it always does."""
    sampler, schedule, known = SAMPLERS[name](), SCHEDULES[kind], normal(7, 1, 2, 2, 3)
    repaint, draws = np.array([[True, False], [False, True]])[None, ..., None], normal(0, 1, 2, 2, 3)
    denoiser = KnownRegion(exact_denoiser(schedule), schedule, known, repaint)
    received, plain = (
        arrays(sampler.sample(asked, schedule, draws, np.array([5], "int32"), SEEDS[:1]))
        for asked in (denoiser, exact_denoiser(schedule))
    )
    np.testing.assert_allclose(received, np.where(repaint, plain, known), atol=2e-4)


@pytest.mark.parametrize("kind", first_fast(SCHEDULES))
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "lcm"])
def test_latents_of_the_right_kind_stay_so(name, kind):
    """Latents from the distribution itself, noised to any strength and denoised, are again from the distribution."""
    latents = (MEAN + STD * normal(1, 1, 40, 40, 5)).astype("float32")
    num_steps = 400 if name in ("ddpm", "euler_ancestral") else 60
    received, _ = run(
        SAMPLERS[name](), SCHEDULES[kind], [num_steps], [0.45 * num_steps + 0.3], np.array([11], "int32"), latents
    )
    assert abs(received.mean() - MEAN) < 0.035
    assert abs(received.std() - STD) < 0.035
    assert 0.03 < np.corrcoef(received.ravel(), latents.ravel())[0, 1] < 0.99
