"""DDPM."""

from latentdiff.diffusion.samplers.ddim import DDIM


class DDPM(DDIM):
    """Denoising diffusion probabilistic models: each step draws from the posterior, given the guess of the clean
    latents. It is DDIM with nothing but fresh noise (eta = 1) and the smaller of the two variances of the paper.

    Args:
        spacing, temperature: see `Sampler`.

    Reference: Ho et al., Denoising Diffusion Probabilistic Models, 2020, arXiv:2006.11239, equations 6 and 7.
    """

    def __init__(self, spacing="trailing", temperature=1.0):
        super().__init__(eta=1.0, spacing=spacing, temperature=temperature)
