"""DPM-Solver++ 2M, the SDE form."""

from keras import ops

from latentdiff.diffusion.samplers.dpmpp_2m import DPMPP2M, change, history


class DPMPP2MSDE(DPMPP2M):
    """DPM-Solver++ of second order for the stochastic equation: DPM-Solver++ 2M that replaces noise by fresh noise, and
    so forgets its errors.

    Args:
        spacing, temperature: see `Sampler`.

    Reference: Lu et al., DPM-Solver++, 2022, arXiv:2211.01095, section 5, SDE-DPM-Solver++(2M).
    """

    def step(self, denoiser, noisy_latents, state, here, there, draws):
        pred_latents, pred_noise = denoiser(noisy_latents, here.timesteps)
        ahead = pred_latents + 0.5 * change(pred_latents, state, here, there)
        kept = here.noise_left(there)
        share = ops.square(kept)  # exp(-2 h): what is left of the old noise's variance
        noise = kept * pred_noise + ops.sqrt(ops.maximum(1.0 - share, 0.0)) * draws()
        moved = there.signal_rates * (share * pred_latents + (1.0 - share) * ahead) + there.noise_rates * noise
        return moved, history(pred_latents, here)
