"""UniPC."""

from keras import ops

from latentdiff.diffusion.samplers.dpmpp_2m import change, history, no_history, step_ratio
from latentdiff.diffusion.samplers.sampler import Sampler


class UniPC(Sampler):
    """UniPC of second order (B2(h), data prediction): the predictor is that of DPM-Solver++ 2M; when the denoiser has
    been asked at the new point, a corrector of third order takes the answer into account, at no further call.

    Args:
        spacing, temperature: see `Sampler`.

    Reference: Zhao et al., UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models, 2023,
    arXiv:2302.04867, equations 3 and 9, Algorithms 5 and 6.
    """

    def init_state(self, noisy_latents):
        # The correction of the point that was predicted: first + second * (predicted latents there).
        return *no_history(noisy_latents), ops.zeros_like(noisy_latents), ops.zeros_like(noisy_latents[:, :1, :1, :1])

    def step(self, denoiser, noisy_latents, state, here, there, draws):
        *past, first, second = state
        pred_latents, _ = denoiser(noisy_latents, here.timesteps)
        noisy_latents = noisy_latents + first + second * pred_latents
        onward = change(pred_latents, past, here, there)
        gain = there.signal_rates * (1.0 - here.noise_left(there))
        predicted = there.noise_rates / here.noise_rates * noisy_latents + gain * (pred_latents + 0.5 * onward)
        of_onward, of_error = corrector_weights(past[1], here, there)
        first = gain * ((of_onward - 0.5) * onward - of_error * pred_latents)
        return predicted, (*history(pred_latents, here), first, gain * of_error)


def corrector_weights(last_log_snr, here, there):
    """The solution of equation 9 for two points: how much the change predicted from the past counts, and how much the
    difference to the predicted latents that are found at the end of the step; 0 and 1/2 without a past."""
    bend = langevin(0.5 * (there.log_snr - here.log_snr))
    of_past = bend / (there.log_snr - last_log_snr)
    has_past = step_ratio(last_log_snr, here, there) > 0.0
    return ops.where(has_past, of_past, 0.0), ops.where(has_past, 0.5 + 0.5 * bend - of_past, 0.5)


def langevin(x):
    """coth(x) - 1 / x for x > 0; a series where the difference would lose its digits."""
    square = ops.square(x)
    series = x * (1.0 / 3.0 - square * (1.0 / 45.0 - square * (2.0 / 945.0 - square / 4725.0)))
    return ops.where(x < 0.7, series, 1.0 / ops.tanh(x) - 1.0 / x)
