"""Euler."""

from latentdiff.diffusion.samplers.ddim import DDIM


class Euler(DDIM):
    """Euler's method for the flow from noise to data.

    In the variables x = latents / signal rate and sigma = noise rate / signal rate the flow is dx / dsigma = the noise
    that the denoiser sees, whatever the schedule. A step of Euler, x + (sigma there - sigma here) * noise, is a step of
    DDIM without fresh noise once it is scaled back: only the usual spacing differs.

    Args:
        spacing, temperature: see `Sampler`.

    Reference: Karras et al., arXiv:2206.00364, equation 4 and lines 3 to 5 of Algorithm 1; Song et al.,
    arXiv:2010.02502, equation 14.
    """

    def __init__(self, spacing="karras", temperature=1.0):
        super().__init__(eta=0.0, spacing=spacing, temperature=temperature)
