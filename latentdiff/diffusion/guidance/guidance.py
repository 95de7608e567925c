"""What all kinds of guidance share: two answers, the scale between them, rescale and interval."""

import abc

import numpy as np
from keras import ops


class Guidance(abc.ABC):
    """Base of the kinds of guidance: a denoiser that goes from a worse answer to a better one, and beyond.

    A new kind overrides `answers`.

    Args:
        denoiser: the denoiser to guide; `rescale` and `interval` ask its `noise_schedule`.
        guidance_scale: float (batch,); 1.0 is the better answer alone, larger values exaggerate it.
        rescale: in [0, 1], one float or (batch,): how far the contrast of the clean latents is brought back to what it
            is without guidance; large scales raise it, up to burnt colours. The paper recommends 0.7, and guides the
            prediction of a U-Net; here the clean latents are rescaled, which means the same for every prediction type.
        interval: (low, high), each one float or (batch,): the noise levels sigma = noise rate / signal rate inside of
            which images are guided; None for all. Guidance at high noise costs variety, at low noise it does nothing.

    Call arguments and result: those of a denoiser.

    Raises:
        ValueError: `rescale` outside [0, 1], or `interval` not 0 <= low < high, where these are numbers.

    Reference: Lin et al., Common Diffusion Noise Schedules and Sample Steps are Flawed, 2023, arXiv:2305.08891,
    equations 15 and 16; Kynkaanniemi et al., Applying Guidance in a Limited Interval, 2024, arXiv:2404.07724,
    equation 5.
    """

    def __init__(self, denoiser, guidance_scale, rescale=0.0, interval=None):
        check_guidance(rescale, interval)
        self.denoiser = denoiser
        self.noise_schedule = getattr(denoiser, "noise_schedule", None)
        self.guidance_scale = ops.reshape(guidance_scale, (-1, 1, 1, 1))
        self.rescale = rescale
        self.interval = interval

    @abc.abstractmethod
    def answers(self, noisy_latents, timesteps):
        """(pred_latents, pred_noise) of the better answer, and those of the worse one."""

    def __call__(self, noisy_latents, timesteps):
        (latents, noise), (latents_without, noise_without) = self.answers(noisy_latents, timesteps)
        extra = self.guidance_scale - 1.0
        if self.interval is not None:
            signal_rates, noise_rates = self._rates(timesteps)
            sigmas = noise_rates / ops.maximum(signal_rates, 1e-12)
            low, high = (_each_row(edge) for edge in self.interval)
            extra = ops.where(ops.logical_and(low < sigmas, sigmas <= high), extra, 0.0)
        pred_latents = latents + extra * (latents - latents_without)
        pred_noise = noise + extra * (noise - noise_without)
        if isinstance(self.rescale, (int, float)) and self.rescale == 0.0:
            return pred_latents, pred_noise
        return self._rescaled(pred_latents, pred_noise, latents, timesteps)

    def _rescaled(self, pred_latents, pred_noise, latents, timesteps):
        """The guided latents with (in part) the standard deviation of the plain ones, and the noise that goes with.

        Rows with a rescale of 0 get a factor of exactly 1.
        """
        contrast = ops.std(latents, axis=(1, 2, 3), keepdims=True)
        guided_contrast = ops.std(pred_latents, axis=(1, 2, 3), keepdims=True)
        factor = 1.0 + _each_row(self.rescale) * (contrast / ops.maximum(guided_contrast, 1e-6) - 1.0)
        signal_rates, noise_rates = self._rates(timesteps)
        # signal_rate * latents + noise_rate * noise stays what it was.
        moved = signal_rates * (1.0 - factor) * pred_latents / ops.maximum(noise_rates, 1e-6)
        return factor * pred_latents, pred_noise + moved

    def _rates(self, timesteps):
        return (ops.reshape(rates, (-1, 1, 1, 1)) for rates in self.denoiser.noise_schedule.rates(timesteps))


def _each_row(value):
    """A float as it is, (batch,) as (batch, 1, 1, 1)."""
    return value if isinstance(value, (int, float)) else ops.reshape(ops.cast(value, "float32"), (-1, 1, 1, 1))


def check_guidance(rescale, interval, prefix=""):
    """Raises ValueError for `rescale` outside [0, 1], or an `interval` that is neither None nor 0 <= low < high.

    Tensors of a backend are not looked into.
    """
    if _is_known(rescale) and not np.all((np.asarray(rescale) >= 0.0) & (np.asarray(rescale) <= 1.0)):
        raise ValueError(f"`{prefix}rescale` must lie in [0, 1]. Received: {prefix}rescale={rescale}")
    if interval is not None and not _is_interval(interval):
        raise ValueError(
            f"`{prefix}interval` must be (low, high) with 0 <= low < high. Received: {prefix}interval={interval}"
        )


def _is_known(value):
    return isinstance(value, (int, float, np.number, np.ndarray, list, tuple))


def _is_interval(interval):
    if not isinstance(interval, (tuple, list, np.ndarray)) or len(interval) != 2:
        return False
    low, high = interval
    if not (_is_known(low) and _is_known(high)):
        return True
    return bool(np.all((np.asarray(low) >= 0.0) & (np.asarray(low) < np.asarray(high))))
