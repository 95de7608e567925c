"""Classifier-free guidance."""

from keras import ops

from latentdiff.diffusion.guidance.guidance import Guidance


class ClassifierFreeGuidance(Guidance):
    """Steers a denoiser away from what it would do for the negative prompt, towards the prompt.

    Args:
        denoiser: a denoiser for a batch of twice the size: its first half holds the prompts, its second half the
            negative (or empty) prompts of the same images.
        guidance_scale, rescale, interval: see `Guidance`.

    Call arguments and result: those of a denoiser for the plain batch.

    Reference: Ho and Salimans, Classifier-Free Diffusion Guidance, 2022, arXiv:2207.12598, equation 6.
    """

    def answers(self, noisy_latents, timesteps):
        both = self.denoiser(ops.concatenate([noisy_latents] * 2), ops.concatenate([timesteps] * 2))
        (latents, latents_without), (noise, noise_without) = (ops.split(prediction, 2) for prediction in both)
        return (latents, noise), (latents_without, noise_without)
