"""The loop that all samplers share: from pure noise to latents, one step at a time."""

import abc

import keras
from keras import ops

from latentdiff import noise
from latentdiff.samplers.spacing import KARRAS, SPACINGS, spread


class Sampler(abc.ABC):
    """Base of the samplers. A new one overrides `step`, and `init_state` if it remembers something between steps.

    Every row of a batch follows its own number of steps; rows that are done wait unchanged for the others.

    Args:
        spacing: how the timesteps are spread over training's, see `spacing.spread`.

    Raises:
        ValueError: unknown `spacing`.
    """

    def __init__(self, spacing="trailing"):
        if spacing not in (*SPACINGS, KARRAS):
            raise ValueError(f"`spacing` must be one of {(*SPACINGS, KARRAS)}. Received: spacing={spacing!r}")
        self.spacing = spacing

    def timesteps(self, index, num_steps, noise_schedule):
        """The timestep at step `index` of `num_steps`, both int (batch,) -> float32 (batch,); -1 (clean) at the end."""
        timesteps = spread(self.spacing, index, num_steps, noise_schedule)
        return ops.where(index < num_steps, timesteps, -1.0)

    def init_state(self, noisy_latents):
        """What is carried from step to step: a tuple of tensors, each with the batch in front."""
        return ()

    @abc.abstractmethod
    def step(self, denoiser, noisy_latents, state, here, there, draws):
        """One step.

        Args:
            denoiser: (noisy_latents, timesteps) -> (pred_latents, pred_noise).
            noisy_latents: float32 (batch, h, w, channels), at time `here`.
            state: the tuple of `init_state` or of the last step.
            here, there: `Moment`s, the time now and the time to reach.
            draws: function without arguments, fresh noise shaped like the latents.

        Returns:
            noisy latents at time `there`, and the new state.
        """

    def advance(self, denoiser, noise_schedule, noisy_latents, state, index, num_steps, seeds):
        """Step number `index` (int scalar) of every row that is not done yet; returns noisy latents and state."""
        rows = ops.zeros_like(num_steps) + index
        here = Moment(noise_schedule, self.timesteps(rows, num_steps, noise_schedule))
        there = Moment(noise_schedule, self.timesteps(rows + 1, num_steps, noise_schedule))

        def draws():
            return noise.normal(seeds, noisy_latents.shape[1:], stream=rows + 1)

        moved = self.step(denoiser, noisy_latents, state, here, there, draws)
        unfinished = ops.reshape(rows < num_steps, (-1, 1, 1, 1))
        return keras.tree.map_structure(lambda new, old: ops.where(unfinished, new, old), moved, (noisy_latents, state))

    def sample(self, denoiser, noise_schedule, noisy_latents, num_steps, seeds, first_step=0):
        """All steps, in one loop that compiles.

        Args:
            denoiser: (noisy_latents, timesteps) -> (pred_latents, pred_noise).
            noise_schedule: the `NoiseSchedule` of the model.
            noisy_latents: float32 (batch, h, w, channels), pure noise for a start from nothing.
            num_steps: int32 (batch,).
            seeds: int32 (batch,), of the noise that some samplers add.
            first_step: int scalar, the step to start with.

        Returns:
            float32 (batch, h, w, channels), the latents.
        """
        last = ops.max(num_steps)

        def body(index, noisy_latents, state):
            moved = self.advance(denoiser, noise_schedule, noisy_latents, state, index, num_steps, seeds)
            return (index + 1, *moved)

        start = (ops.cast(first_step, "int32"), noisy_latents, self.init_state(noisy_latents))
        return ops.while_loop(lambda index, *_: index < last, body, start)[1]


class Moment:
    """A point in time of every row: `timesteps` (batch,), and the rates there, shaped (batch, 1, 1, 1)."""

    def __init__(self, noise_schedule, timesteps):
        self.timesteps = timesteps
        self.signal_rates, self.noise_rates = (
            ops.reshape(rates, (-1, 1, 1, 1)) for rates in noise_schedule.rates(timesteps)
        )

    @property
    def log_snr(self):
        """lambda of the DPM-Solver papers, half of the log of the signal-to-noise ratio; -inf for pure noise."""
        return ops.log(self.signal_rates) - ops.log(self.noise_rates)

    def noise_left(self, there):
        """What of the noise, measured in signal, is left at a later moment: sigma there / sigma here, in [0, 1]."""
        return self.signal_rates * there.noise_rates / (there.signal_rates * self.noise_rates)
