"""Guidance: a denoiser that exaggerates what the prompt changes."""

import math

import numpy as np
from keras import ops

LARGEST = 1e30  # stands for infinity, which JSON does not know; no noise level is higher


class ClassifierFreeGuidance:
    """Steers a denoiser away from what it would do for the negative prompt, towards the prompt.

    Args:
        denoiser: a denoiser for a batch of twice the size: its first half holds the prompts, its second half the
            negative (or empty) prompts of the same pictures. `rescale` and `interval` ask its `noise_schedule`.
        guidance_scale: float (batch,); 1.0 follows the prompt alone, larger values exaggerate it.
        rescale: in [0, 1], float or (batch,): how far the contrast of the clean latents is brought back to what it is
            without guidance; large scales raise it, up to burnt colours. The paper recommends 0.7, and guides the
            prediction of a U-Net; here the clean latents are rescaled, which means the same for every prediction type.
        interval: (low, high), floats or (batch,) each: the noise levels sigma = noise rate / signal rate inside of
            which pictures are guided; None for all. Guidance at high noise costs variety, at low noise it does nothing.

    Call arguments and result: those of a denoiser for the plain batch.

    Raises:
        ValueError: `rescale` outside [0, 1], or `interval` not 0 <= low < high.

    Reference: Ho and Salimans, Classifier-Free Diffusion Guidance, 2022, arXiv:2207.12598, equation 6; Lin et al.,
    Common Diffusion Noise Schedules and Sample Steps are Flawed, 2023, arXiv:2305.08891, equations 15 and 16;
    Kynkaanniemi et al., Applying Guidance in a Limited Interval, 2024, arXiv:2404.07724, equation 5.
    """

    def __init__(self, denoiser, guidance_scale, rescale=0.0, interval=None):
        if isinstance(rescale, (int, float)):  # tensors are checked where they are made
            check_guidance(rescale, interval)
        self.denoiser = denoiser
        self.guidance_scale = ops.reshape(guidance_scale, (-1, 1, 1, 1))
        self.rescale = rescale
        self.interval = interval

    def __call__(self, noisy_latents, timesteps):
        both = self.denoiser(ops.concatenate([noisy_latents] * 2), ops.concatenate([timesteps] * 2))
        (latents, latents_without), (noise, noise_without) = (ops.split(prediction, 2) for prediction in both)
        extra = self.guidance_scale - 1.0
        if self.interval is not None:
            signal_rates, noise_rates = self._rates(timesteps)
            sigmas = noise_rates / ops.maximum(signal_rates, 1e-12)
            low, high = (ops.reshape(edge, (-1, 1, 1, 1)) for edge in self.interval)
            extra = ops.where(ops.logical_and(low < sigmas, sigmas <= high), extra, 0.0)
        pred_latents = latents + extra * (latents - latents_without)
        pred_noise = noise + extra * (noise - noise_without)
        if isinstance(self.rescale, (int, float)) and not self.rescale:
            return pred_latents, pred_noise
        return self._rescaled(pred_latents, pred_noise, latents, timesteps)

    def _rescaled(self, pred_latents, pred_noise, latents, timesteps):
        """The guided latents with (in part) the standard deviation of the plain ones, and the noise that goes with."""
        contrast = ops.std(latents, axis=(1, 2, 3), keepdims=True)
        guided_contrast = ops.std(pred_latents, axis=(1, 2, 3), keepdims=True)
        factor = 1.0 + ops.reshape(self.rescale, (-1, 1, 1, 1)) * (contrast / ops.maximum(guided_contrast, 1e-6) - 1.0)
        signal_rates, noise_rates = self._rates(timesteps)
        # signal_rate * latents + noise_rate * noise stays what it was.
        moved = signal_rates * (1.0 - factor) * pred_latents / ops.maximum(noise_rates, 1e-6)
        return factor * pred_latents, pred_noise + moved

    def _rates(self, timesteps):
        return (ops.reshape(rates, (-1, 1, 1, 1)) for rates in self.denoiser.noise_schedule.rates(timesteps))


def finite_interval(interval):
    """An interval as JSON can hold it: a list without infinity, or None."""
    return None if interval is None else [min(float(edge), LARGEST) for edge in interval]


def read_interval(finite):
    """The interval that `finite_interval` made this of."""
    return None if finite is None else tuple(math.inf if edge >= LARGEST else edge for edge in finite)


def check_guidance(rescale, interval, prefix=""):
    """Raises ValueError for `rescale` outside [0, 1], or an `interval` that is neither None nor 0 <= low < high."""
    if not 0.0 <= rescale <= 1.0:
        raise ValueError(f"`{prefix}rescale` must lie in [0, 1]. Received: {prefix}rescale={rescale}")
    if interval is not None and not (np.shape(interval) == (2,) and 0.0 <= interval[0] < interval[1]):
        raise ValueError(
            f"`{prefix}interval` must be (low, high) with 0 <= low < high. Received: {prefix}interval={interval}"
        )
