"""DPM-Solver++ 2M."""

from keras import ops

from latentdiff.diffusion.samplers.sampler import Sampler

NO_PAST = -1e30  # a log_snr of minus infinity, which neither JSON nor the constants of a LiteRT file know


class DPMPP2M(Sampler):
    """DPM-Solver++ of second order: a step of DDIM, corrected by how the guess of the clean latents has changed since
    the step before. The first and the last step are those of DDIM.

    Args:
        spacing, temperature: see `Sampler`.

    Reference: Lu et al., DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models, 2022,
    arXiv:2211.01095, Algorithm 2.
    """

    def init_state(self, noisy_latents):
        return no_history(noisy_latents)

    def step(self, denoiser, noisy_latents, state, here, there, draws):
        pred_latents, pred_noise = denoiser(noisy_latents, here.timesteps)
        ahead = pred_latents + 0.5 * change(pred_latents, state, here, there)  # D of the paper
        # (noise there / noise here) noisy_latents, with the noisy latents taken apart.
        kept = here.noise_left(there)
        moved = there.signal_rates * (kept * pred_latents + (1.0 - kept) * ahead) + there.noise_rates * pred_noise
        return moved, history(pred_latents, here)


def no_history(noisy_latents):
    """State before the first step: (the last predicted latents, the log_snr there), those of infinite noise."""
    return ops.zeros_like(noisy_latents), ops.full_like(noisy_latents[:, :1, :1, :1], NO_PAST)


def history(pred_latents, here):
    """State behind a step: (the predicted latents, the log_snr where they were predicted), all finite."""
    return pred_latents, ops.maximum(here.log_snr, NO_PAST)


def step_ratio(last_log_snr, here, there):
    """Length of this step by that of the last one, in log_snr; 0 where one of the two has no end."""
    ratio = (there.log_snr - here.log_snr) / (here.log_snr - last_log_snr)
    known = ops.logical_and(ratio < 1e6, last_log_snr > NO_PAST)  # neither infinite nor NaN
    return ops.where(known, ratio, 0.0)


def change(pred_latents, past, here, there):
    """How far the predicted latents will move during this step, if they go on as during the last one."""
    last_latents, last_log_snr = past
    return step_ratio(last_log_snr, here, there) * (pred_latents - last_latents)
