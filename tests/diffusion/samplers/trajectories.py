"""Runs a sampler step by step on the network that the golden trajectories were made with."""

import keras
import numpy as np
from golden.network import draws, first_latents, network
from harness import GOLDEN, arrays
from keras import ops

from latentdiff.diffusion import noise
from latentdiff.models.compilation import compile_function

TOLERANCE = 1e-4  # of the latents, or of the largest of them where they are large


def assert_golden(monkeypatch, sampler, schedule, name, prediction_type, spacing, steps=(10, 20, 50)):
    """`sampler` visits the stored timesteps and latents; trajectories of all numbers of `steps` run side by side."""
    keys = [f"{name}/{prediction_type}/{spacing}/{num_steps}" for num_steps in steps]
    with np.load(GOLDEN / "schedules.npz") as golden:
        timesteps, paths = [golden[f"timesteps/{key}"] for key in keys], [golden[f"path/{key}"] for key in keys]
    table = np.concatenate([draws(index) for index in range(max(steps) + 1)])
    monkeypatch.setattr(noise, "normal", lambda seeds, shape, stream: ops.take(table, stream - 1, axis=0))
    num_steps, seeds = np.array(steps, "int32"), np.zeros(len(steps), "int32")

    def denoiser(noisy_latents, timesteps):
        prediction = network(noisy_latents, ops.reshape(timesteps, (-1, 1, 1, 1)), ops)
        return schedule.split(prediction, noisy_latents, timesteps, prediction_type)

    def advance(latents, index):
        rows = ops.zeros_like(num_steps) + index
        moved, _ = sampler.advance(denoiser, schedule, latents, (), index, num_steps, seeds)
        return sampler.timesteps(rows, num_steps, schedule), moved

    compiled = compile_function(advance, keras.Model())
    latents = np.repeat(first_latents(), len(steps), axis=0)
    for index in range(max(steps)):
        visited, latents = arrays(compiled(latents, np.int32(index)))
        for row, path in enumerate(paths):
            if index < len(path):
                assert visited[row] == timesteps[row][index]
                tolerance = TOLERANCE * max(1.0, np.abs(path[index]).max())
                np.testing.assert_allclose(latents[row], path[index, 0], atol=tolerance, err_msg=f"{keys[row]} {index}")
    assert not np.allclose(latents[0], latents[-1])
