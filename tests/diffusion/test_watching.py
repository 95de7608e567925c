"""Whoever watches the loop sees what `sample` computes, from the initial noise that is really used on."""

import keras
import numpy as np
import pytest
from diffusion.samplers.gaussian import exact_denoiser
from harness import arrays, assert_close, first_fast, normal

from latentdiff import NoiseSchedule
from latentdiff.diffusion.samplers import SAMPLERS
from latentdiff.diffusion.watching import Frame, observe, watch

SCHEDULE = NoiseSchedule("cosine")
SEEDS, STEPS = np.array([1, 2], "int32"), np.array([4, 2], "int32")


def frames(sampler, latents, first_step=0.0):
    denoiser = exact_denoiser(SCHEDULE)

    def step(noisy_latents, state, index):
        return observe(sampler, denoiser, SCHEDULE, noisy_latents, state, index, STEPS, SEEDS, first_step)

    return [
        Frame(*(part if part is None else arrays(part) for part in frame))
        for frame in watch(sampler, SCHEDULE, step, latents, STEPS, first_step)
    ]


@pytest.mark.parametrize("name", first_fast(reversed(SAMPLERS), 3))
def test_the_last_frame_is_what_sample_returns(name):
    sampler, latents = SAMPLERS[name](temperature=0.7), normal(0, 2, 2, 2, 3)
    seen = frames(sampler, latents)
    expected = sampler.sample(exact_denoiser(SCHEDULE), SCHEDULE, latents, STEPS, SEEDS)
    assert len(seen) == 5
    assert_close(seen[-1].noisy_latents, expected, 1e-5 if keras.backend.backend() == "tensorflow" else 1e-4)
    assert (seen[-1].timesteps == -1.0).all() and (np.diff([frame.timesteps[0] for frame in seen]) < 0).all()


def test_the_first_frame_is_the_noise_that_is_used():
    latents = normal(0, 2, 2, 2, 3)
    first = frames(SAMPLERS["ddim"](temperature=0.7), latents)[0]
    np.testing.assert_array_equal(first.noisy_latents, np.float32(0.7) * latents)
    assert first.pred_latents is None and first.timesteps.tolist() == [999.0, 999.0]


@pytest.mark.parametrize("name", ["ddim", "heun", "unipc"])
def test_predictions_are_those_at_the_beginning_of_the_step(name):
    latents = normal(0, 2, 2, 2, 3)
    seen = frames(SAMPLERS[name](spacing="trailing"), latents)
    before, after = seen[0], seen[1]
    expected = exact_denoiser(SCHEDULE)(before.noisy_latents, before.timesteps)[0]
    assert_close(after.pred_latents, expected, 1e-6)
    np.testing.assert_array_equal(seen[4].pred_latents[1], seen[2].noisy_latents[1])  # this row was done


def test_a_loop_that_begins_part_way():
    latents = normal(0, 2, 2, 2, 3)
    seen = frames(SAMPLERS["ddim"](temperature=0.7), latents, first_step=np.array([1.5, 0.5], "float32"))
    assert len(seen) == 4
    np.testing.assert_array_equal(seen[0].noisy_latents, latents)


def test_a_step_is_taken_when_its_frame_is_asked_for():
    taken = []
    denoiser = exact_denoiser(SCHEDULE)
    sampler = SAMPLERS["ddim"]()

    def step(noisy_latents, state, index):
        taken.append(int(index))
        return observe(sampler, denoiser, SCHEDULE, noisy_latents, state, index, STEPS, SEEDS)

    looking = watch(sampler, SCHEDULE, step, normal(0, 2, 2, 2, 3), STEPS)
    next(looking)
    assert taken == []
    next(looking)
    assert taken == [0]
