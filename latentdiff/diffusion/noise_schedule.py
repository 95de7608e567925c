"""How much signal and how much noise there is at each timestep, and every conversion that follows from it.

A noised latent is `signal_rate * latents + noise_rate * noise`. A network may be asked for the noise, for the clean
latents, or for a mixture of both, the velocity; each of the three determines the others, and only this file knows how.
"""

import math

import keras
import numpy as np
from keras import ops

PREDICTION_TYPES = ("noise", "velocity", "latents")
CLEAN = -1.0  # the timestep in front of the first: signal rate 1, noise rate 0


def _linear(steps, start, end):
    return np.cumprod(1.0 - np.linspace(start, end, steps))


def _scaled_linear(steps, start, end):
    return np.cumprod(1.0 - np.linspace(start**0.5, end**0.5, steps) ** 2)


def _cosine(steps, start, end):
    edges = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.cumprod(1.0 - np.minimum(1.0 - edges[1:] / edges[:-1], 0.999))


# Ho et al. 2020; Rombach et al. 2022; Nichol and Dhariwal 2021: alpha_bar at each timestep.
ALPHA_BARS = {"linear": _linear, "scaled_linear": _scaled_linear, "cosine": _cosine}
KINDS = (*ALPHA_BARS, "rectified_flow")


def _rescale_to_zero_snr(alpha_bars):
    """Shifts and scales sqrt(alpha_bar) so that nothing of the signal is left at the last timestep (Algorithm 1)."""
    roots = np.sqrt(alpha_bars)
    return ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2


@keras.saving.register_keras_serializable(package="latentdiff")
class NoiseSchedule:
    """Signal and noise rates over time.

    The first three kinds preserve variance, signal_rate^2 + noise_rate^2 = 1. "rectified_flow" goes straight from data
    to noise, signal_rate + noise_rate = 1. Between whole timesteps the angle (for rectified flow the noise rate) is
    interpolated, so that the law of the kind holds there too. Timestep -1 is the clean image.

    Args:
        kind: "linear", "scaled_linear", "cosine" or "rectified_flow".
        num_train_timesteps: number of timesteps, T; they run from 0 (little noise) to T - 1.
        beta_start, beta_end: first and last variance of the two linear kinds.
        zero_terminal_snr: rescale so that the last timestep is noise only (kinds that preserve variance).

    Raises:
        ValueError: unknown kind, or fewer than 2 timesteps, or betas that don't rise inside (0, 1).

    Reference: Ho et al., arXiv:2006.11239; Nichol and Dhariwal, arXiv:2102.09672; Liu et al., arXiv:2209.03003;
    Lin et al., Common Diffusion Noise Schedules and Sample Steps are Flawed, arXiv:2305.08891.
    """

    def __init__(
        self, kind="cosine", num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, zero_terminal_snr=False
    ):
        if kind not in KINDS:
            raise ValueError(f"`kind` must be one of {KINDS}. Received: kind={kind!r}")
        if kind == "rectified_flow" and zero_terminal_snr:
            raise ValueError(
                "`zero_terminal_snr` must be False with kind 'rectified_flow', which ends with noise only. "
                "Received: zero_terminal_snr=True"
            )
        if num_train_timesteps < 2:
            raise ValueError(f"`num_train_timesteps` must be at least 2. Received: {num_train_timesteps=}")
        if not 0 < beta_start < beta_end < 1:
            raise ValueError(f"`beta_start` < `beta_end` must lie in (0, 1). Received: {beta_start=}, {beta_end=}")
        self.kind = kind
        self.num_train_timesteps = num_train_timesteps
        self.beta_start = beta_start
        self.beta_end = beta_end
        self.zero_terminal_snr = zero_terminal_snr
        self.preserves_variance = kind != "rectified_flow"
        if self.preserves_variance:
            alpha_bars = ALPHA_BARS[kind](num_train_timesteps, beta_start, beta_end)
            if zero_terminal_snr:
                alpha_bars = _rescale_to_zero_snr(alpha_bars)
            roots = np.sqrt([alpha_bars, 1.0 - alpha_bars])
            signal, noise = np.arctan2(roots, roots[::-1])  # angles: from pure noise, from the clean image
        else:
            noise = np.arange(1, num_train_timesteps + 1) / num_train_timesteps
            signal = 1.0 - noise
        # What is interpolated, one entry a timestep, that of the clean image in front. Both are kept, since the
        # difference of one to its end would lose the digits of a rate near zero.
        clean = math.pi / 2 if self.preserves_variance else 1.0
        self.signal_positions = np.concatenate([[clean], signal]).astype("float32")
        self.noise_positions = np.concatenate([[0.0], noise]).astype("float32")

    def rates(self, timesteps):
        """Signal and noise rates.

        Args:
            timesteps: (batch,), whole or fractional, in [-1, num_train_timesteps - 1].

        Returns:
            signal_rates, noise_rates: float32 (batch,) each.
        """
        place = ops.clip(ops.cast(timesteps, "float32") + 1.0, 0.0, float(self.num_train_timesteps))
        below = ops.floor(place)
        index = ops.cast(below, "int32")
        above = ops.minimum(index + 1, self.num_train_timesteps)

        def interpolate(positions):
            low, high = ops.take(positions, index), ops.take(positions, above)
            return low + (high - low) * (place - below)

        signal, noise = interpolate(self.signal_positions), interpolate(self.noise_positions)
        return (ops.sin(signal), ops.sin(noise)) if self.preserves_variance else (signal, noise)

    def timesteps_of(self, sigmas):
        """The timesteps, float32 (batch,), where noise rate / signal rate is `sigmas` (batch,); undoes `rates`."""
        sigmas = ops.cast(sigmas, "float32")
        # LiteRT knows no arctan of one argument.
        angles = ops.arctan2(sigmas, ops.ones_like(sigmas))
        position = angles if self.preserves_variance else sigmas / (1.0 + sigmas)
        reached = self.noise_positions[None, 1:-1] <= position[:, None]  # (batch, T - 1); a search that LiteRT can do
        index = ops.sum(ops.cast(reached, "int32"), axis=1)
        low, high = ops.take(self.noise_positions, index), ops.take(self.noise_positions, index + 1)
        return ops.cast(index, "float32") + ops.clip((position - low) / (high - low), 0.0, 1.0) - 1.0

    def add_noise(self, latents, noise, timesteps):
        """Noised latents, `signal_rates * latents + noise_rates * noise`; shapes (batch, ...), timesteps (batch,)."""
        signal_rates, noise_rates = self._rates_like(latents, timesteps)
        return signal_rates * latents + noise_rates * noise

    def target(self, latents, noise, timesteps, prediction_type):
        """What a network of this `prediction_type` should answer; float (batch, ...), like the latents."""
        self.check(prediction_type)
        if prediction_type == "noise":
            return noise
        if prediction_type == "latents":
            return latents
        of_noise, of_latents = self._velocity_rates(latents, timesteps)
        return of_noise * noise - of_latents * latents

    def split(self, prediction, noisy_latents, timesteps, prediction_type):
        """The clean latents and the noise that a prediction means.

        Args:
            prediction: float (batch, ...), the network's answer.
            noisy_latents: float (batch, ...), what it saw.
            timesteps: (batch,), when.
            prediction_type: "noise", "velocity" or "latents".

        Returns:
            pred_latents, pred_noise: float (batch, ...) each, with
            `signal_rates * pred_latents + noise_rates * pred_noise = noisy_latents`.
        """
        self.check(prediction_type)
        signal_rates, noise_rates = self._rates_like(noisy_latents, timesteps)
        if prediction_type == "noise":
            return (noisy_latents - noise_rates * prediction) / signal_rates, prediction
        if prediction_type == "latents":
            return prediction, (noisy_latents - signal_rates * prediction) / noise_rates
        # noisy = signal latents + noise_rate noise and velocity = a noise - b latents, solved for latents and noise.
        of_noise, of_latents = self._velocity_rates(noisy_latents, timesteps)
        determinant = signal_rates * of_noise + noise_rates * of_latents
        pred_latents = (of_noise * noisy_latents - noise_rates * prediction) / determinant
        pred_noise = (of_latents * noisy_latents + signal_rates * prediction) / determinant
        return pred_latents, pred_noise

    def loss_weights(self, timesteps, prediction_type, min_snr_gamma=None):
        """Weights (batch,) of the squared error of a prediction.

        With `min_snr_gamma` the error of the implied clean latents counts min(SNR, gamma), whatever is predicted
        (Hang et al., Efficient Diffusion Training via Min-SNR Weighting Strategy, arXiv:2303.09556); without it all
        weights are 1.
        """
        self.check(prediction_type)
        snr = self.snr(timesteps)
        if min_snr_gamma is None:
            return ops.ones_like(snr)
        return self.prediction_weights(ops.minimum(snr, min_snr_gamma), timesteps, prediction_type)

    def snr(self, timesteps):
        """Signal-to-noise ratios, float32 (batch,), of timesteps (batch,) in [0, num_train_timesteps - 1]."""
        signal_rates, noise_rates = self.rates(timesteps)
        return ops.square(signal_rates / noise_rates)

    def prediction_weights(self, weights, timesteps, prediction_type):
        """Weights (batch,) of the squared error of the implied clean latents as those of the prediction's error."""
        _, noise_rates = self.rates(timesteps)
        if prediction_type == "noise":
            return weights / self.snr(timesteps)
        if prediction_type == "latents":
            return weights
        return weights * ops.square(noise_rates)  # an error of 1 in velocity is one of noise_rate in the latents

    def check(self, prediction_type):
        """Raises ValueError for a prediction type that is unknown or that this schedule makes meaningless."""
        if prediction_type not in PREDICTION_TYPES:
            raise ValueError(f"`prediction_type` must be one of {PREDICTION_TYPES}. Received: {prediction_type=}")
        if prediction_type == "noise" and (self.zero_terminal_snr or not self.preserves_variance):
            raise ValueError(
                "`prediction_type` 'noise' says nothing about the latents where no signal is left: use 'velocity' or "
                f"'latents' with this schedule. Received: {prediction_type=}, kind={self.kind!r}, "
                f"zero_terminal_snr={self.zero_terminal_snr}"
            )

    def _rates_like(self, latents, timesteps):
        shape = (-1,) + (1,) * (len(latents.shape) - 1)
        return tuple(ops.reshape(rates, shape) for rates in self.rates(timesteps))

    def _velocity_rates(self, latents, timesteps):
        """Velocity is the derivative along the path: (of_noise, of_latents) with velocity = a noise - b latents."""
        return self._rates_like(latents, timesteps) if self.preserves_variance else (1.0, 1.0)

    def get_config(self):
        return {
            "kind": self.kind,
            "num_train_timesteps": self.num_train_timesteps,
            "beta_start": self.beta_start,
            "beta_end": self.beta_end,
            "zero_terminal_snr": self.zero_terminal_snr,
        }

    @classmethod
    def from_config(cls, config):
        if config.get("kind") == "rectified_flow":  # earlier versions ignored it there
            config = {**config, "zero_terminal_snr": False}
        return cls(**config)
