"""Compares samplers with the stored trajectories of diffusers' schedulers, those of golden/make_samplers.py."""

import keras
import numpy as np
from golden.network import draws, first_latents, network
from harness import GOLDEN, arrays
from keras import ops

from latentdiff import NoiseSchedule
from latentdiff.diffusion import noise
from latentdiff.models.compilation import compile_function

STEPS = (10, 20, 50)
TOLERANCE = 1e-4  # of the latents, or of the largest of them where they are large
SCHEDULE = NoiseSchedule("scaled_linear")


def deviation(monkeypatch, sampler, name, prediction_type, spacing):
    """The largest deviation of the timesteps, and of the latents after each step, from diffusers'; 10, 20 and 50 steps
    run side by side."""
    keys = [f"{name}/{prediction_type}/{spacing}/{num_steps}" for num_steps in STEPS]
    with np.load(GOLDEN / "samplers.npz") as golden:
        timesteps, paths = ([golden[f"{kind}/{key}"] for key in keys] for kind in ("timesteps", "path"))
    table = np.concatenate([draws(index) for index in range(max(STEPS) + 1)])
    monkeypatch.setattr(noise, "normal", lambda seeds, shape, stream: ops.take(table, stream - 1, axis=0))
    num_steps, seeds = np.array(STEPS, "int32"), np.zeros(len(STEPS), "int32")

    def denoiser(noisy_latents, timesteps):
        prediction = network(noisy_latents, ops.reshape(timesteps, (-1, 1, 1, 1)), ops)
        return SCHEDULE.split(prediction, noisy_latents, timesteps, prediction_type)

    def advance(latents, state, index):
        moved = sampler.advance(denoiser, SCHEDULE, latents, state, index, num_steps, seeds)
        return sampler.timesteps(ops.zeros_like(num_steps) + index, num_steps, SCHEDULE), moved

    compiled = compile_function(advance, keras.Model())
    latents = np.repeat(first_latents(), len(STEPS), axis=0)
    state, times, errors = sampler.init_state(latents), [], []
    for index in range(max(STEPS)):
        visited, (latents, state) = compiled(latents, state, np.int32(index))
        for row, path in enumerate(paths):
            if index < len(path):
                times.append(abs(arrays(visited)[row] - timesteps[row][index]))
                errors.append(np.abs(arrays(latents)[row] - path[index, 0]).max() / max(1.0, np.abs(path[index]).max()))
    return max(times), max(errors)


def assert_diffusers(monkeypatch, sampler, name, prediction_type, spacing):
    """Whole timesteps are the same. A fractional one is interpolated in the log of sigma there and exact here, which
    differs by up to 0.1 of a timestep, all of it between the first two."""
    times, errors = deviation(monkeypatch, sampler, name, prediction_type, spacing)
    assert times <= (0.0 if spacing == "trailing" else 0.1)
    assert errors < TOLERANCE
