"""The exact denoiser for latents that are Gaussian: what a perfectly trained network would answer."""

import keras
import numpy as np
from harness import arrays
from keras import ops

from latentdiff.diffusion import noise
from latentdiff.models.compilation import compile_function

MEAN, STD = 1.5, 0.6


def exact_denoiser(schedule):
    """E[latents | noisy latents] for latents of mean MEAN and standard deviation STD, by linear regression."""

    def denoiser(noisy_latents, timesteps):
        signal_rates, noise_rates = (ops.reshape(rates, (-1, 1, 1, 1)) for rates in schedule.rates(timesteps))
        variance = ops.square(signal_rates * STD) + ops.square(noise_rates)
        gain = signal_rates * STD**2 / variance
        pred_latents = MEAN + gain * (noisy_latents - signal_rates * MEAN)
        return pred_latents, noise_rates * (noisy_latents - signal_rates * MEAN) / variance

    return denoiser


def sampled(sampler, schedule, num_steps, size=(40, 40, 5)):
    """8000 latents drawn by the sampler, and the noise that they were made of."""
    seeds = np.array([11], "int32")
    first = noise.normal(seeds, size)

    def sample(first, num_steps):
        return sampler.sample(exact_denoiser(schedule), schedule, first, num_steps, seeds)

    latents = compile_function(sample, keras.Model())(first, np.array([num_steps], "int32"))
    return arrays(latents), arrays(first)
