"""LCM."""

from keras import ops

from latentdiff.diffusion.samplers.sampler import Sampler

SIGMA_DATA = 0.5
TIMESTEP_SCALE = 10.0


class LCM(Sampler):
    """Latent consistency models: jump to the clean latents, add fresh noise of the next level, jump again.

    For a U-Net that was distilled to answer with the end of the flow, not with the mean of all possible ends: there
    1 to 8 steps are enough. Any other gives smooth images of too little variety.

    Args:
        spacing, temperature: see `Sampler`.

    Reference: Luo et al., Latent Consistency Models, 2023, arXiv:2310.04378, equation 9 and Algorithm 3; Song et al.,
    Consistency Models, 2023, arXiv:2303.01469, Algorithm 1.
    """

    def step(self, denoiser, noisy_latents, state, here, there, draws):
        pred_latents, _ = denoiser(noisy_latents, here.timesteps)
        # Equation 9: at time 0 the answer is the latents themselves, and between there and the clean ones too.
        time = TIMESTEP_SCALE * ops.reshape(ops.maximum(here.timesteps, 0.0), (-1, 1, 1, 1))
        scale = ops.square(time) + SIGMA_DATA**2
        latents = SIGMA_DATA**2 / scale * noisy_latents + time / ops.sqrt(scale) * pred_latents
        return there.signal_rates * latents + there.noise_rates * draws(), state
