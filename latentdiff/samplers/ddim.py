"""DDIM."""

from keras import ops

from latentdiff.samplers.sampler import Sampler


class DDIM(Sampler):
    """Denoising diffusion implicit models: take the guess of the clean latents, put the guessed noise back at the
    next, lower level.

    Args:
        eta: share of fresh noise in what is put back, in [0, 1]; 0 makes the picture a function of the first noise.
        spacing: see `Sampler`.

    Reference: Song et al., Denoising Diffusion Implicit Models, 2020, arXiv:2010.02502, equations 12 and 16.
    """

    def __init__(self, eta=0.0, spacing="trailing"):
        super().__init__(spacing)
        if not 0.0 <= eta <= 1.0:
            raise ValueError(f"`eta` must lie in [0, 1]. Received: eta={eta}")
        self.eta = eta

    def step(self, denoiser, noisy_latents, state, here, there, draws):
        pred_latents, pred_noise = denoiser(noisy_latents, here.timesteps)
        if not self.eta:
            return there.signal_rates * pred_latents + there.noise_rates * pred_noise, state
        fresh = self.eta * self.posterior_std(here, there)
        kept = ops.sqrt(ops.maximum(ops.square(there.noise_rates) - ops.square(fresh), 0.0))
        return there.signal_rates * pred_latents + kept * pred_noise + fresh * draws(), state

    def posterior_std(self, here, there):
        """Standard deviation of the noise of a step of DDPM: that of q(latents there | latents here, clean latents)."""
        shrink = here.signal_rates / there.signal_rates
        added = ops.square(here.noise_rates) - ops.square(
            shrink * there.noise_rates
        )  # variance added from there to here
        return (there.noise_rates / here.noise_rates) * ops.sqrt(ops.maximum(added, 0.0))
