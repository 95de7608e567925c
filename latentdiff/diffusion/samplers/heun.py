"""Heun."""

from keras import ops

from latentdiff.diffusion.samplers.sampler import Sampler
from latentdiff.diffusion.samplers.spacing import MAX_SIGMA


class Heun(Sampler):
    """Heun's method of second order: a step of Euler, then the same step again along the mean of the directions at its
    two ends. Each step asks the denoiser twice.

    From (nearly) pure noise, where sigma has no end, and to the clean image, where there is no direction, the step is
    Euler's.

    Args:
        spacing, temperature: see `Sampler`.

    Reference: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022,
    arXiv:2206.00364, Algorithm 1.
    """

    denoiser_calls = 2

    def __init__(self, spacing="karras", temperature=1.0):
        super().__init__(spacing, temperature)

    def step(self, denoiser, noisy_latents, state, here, there, draws):
        pred_latents, direction = denoiser(noisy_latents, here.timesteps)
        euler = there.signal_rates * pred_latents + there.noise_rates * direction  # lines 4 and 5
        _, direction_there = denoiser(euler, ops.maximum(there.timesteps, 0.0))  # line 7
        sigma = here.noise_rates / ops.maximum(here.signal_rates, 1e-6)
        length = there.noise_rates - there.signal_rates * sigma  # sigma there - sigma here, scaled back
        heun = euler + length * 0.5 * (direction_there - direction)  # line 8
        both = ops.logical_and(there.noise_rates > 0.0, sigma <= MAX_SIGMA)  # line 6
        return ops.where(both, heun, euler), state
