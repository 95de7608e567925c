"""Autoguidance."""

from latentdiff.diffusion.guidance.guidance import Guidance


class Autoguidance(Guidance):
    """Steers a denoiser away from what a worse version of itself would do: a smaller network, or one that was trained
    for a shorter time, on the same data. It corrects errors without a loss of variety.

    Args:
        denoiser: a denoiser for the batch.
        guide: the denoiser of the worse network, for the same prompts.
        guidance_scale, rescale, interval: see `Guidance`.

    Call arguments and result: those of a denoiser for the batch.

    Reference: Karras et al., Guiding a Diffusion Model with a Bad Version of Itself, 2024, arXiv:2406.02507,
    equation 3.
    """

    def __init__(self, denoiser, guide, guidance_scale, rescale=0.0, interval=None):
        super().__init__(denoiser, guidance_scale, rescale, interval)
        self.guide = guide

    def answers(self, noisy_latents, timesteps):
        return self.denoiser(noisy_latents, timesteps), self.guide(noisy_latents, timesteps)
