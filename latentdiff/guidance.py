"""Guidance: a denoiser that exaggerates what the prompt changes."""

from keras import ops


class ClassifierFreeGuidance:
    """Steers a denoiser away from what it would do for the negative prompt, towards the prompt.

    Args:
        denoiser: a denoiser for a batch of twice the size: its first half holds the prompts, its second half the
            negative (or empty) prompts of the same pictures.
        guidance_scale: float (batch,); 1.0 follows the prompt alone, larger values exaggerate it.

    Call arguments and result: those of a denoiser for the plain batch.

    Reference: Ho and Salimans, Classifier-Free Diffusion Guidance, 2022, arXiv:2207.12598.
    """

    def __init__(self, denoiser, guidance_scale):
        self.denoiser = denoiser
        self.guidance_scale = ops.reshape(guidance_scale, (-1, 1, 1, 1))

    def __call__(self, noisy_latents, timesteps):
        both = self.denoiser(ops.concatenate([noisy_latents] * 2), ops.concatenate([timesteps] * 2))
        return tuple(self._exaggerate(*ops.split(prediction, 2)) for prediction in both)

    def _exaggerate(self, with_prompt, without):
        return without + self.guidance_scale * (with_prompt - without)
