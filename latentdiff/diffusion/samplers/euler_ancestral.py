"""Euler ancestral."""

from latentdiff.diffusion.samplers.ddim import DDIM


class EulerAncestral(DDIM):
    """Euler's method to a level below the next one, then fresh noise up to it.

    With sigma = noise rate / signal rate, the level below is sigma there^2 / sigma here, and the noise added has
    variance sigma there^2 (1 - sigma there^2 / sigma here^2). That is the posterior of DDPM, or DDIM with eta = 1,
    written in sigma: only the usual spacing differs.

    Args:
        eta: share of the fresh noise, in [0, 1]; 0 is Euler.
        spacing, temperature: see `Sampler`.

    Reference: Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021,
    arXiv:2011.13456, appendix F, equation 47; the name is that of Crowson's k-diffusion.
    """

    def __init__(self, eta=1.0, spacing="karras", temperature=1.0):
        super().__init__(eta=eta, spacing=spacing, temperature=temperature)
