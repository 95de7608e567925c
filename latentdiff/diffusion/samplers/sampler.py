"""The loop that all samplers share: from noise to latents, one step at a time, from the first one or part-way."""

import abc

import keras
from keras import ops

from latentdiff.diffusion import noise
from latentdiff.diffusion.noise_schedule import CLEAN
from latentdiff.diffusion.samplers.spacing import KARRAS, SPACINGS, spread


class Sampler(abc.ABC):
    """Base of the samplers. A new one overrides `step`, and `init_state` if it remembers something between steps; one
    that asks the denoiser more than once a step says so in `denoiser_calls`.

    Every row of a batch follows its own number of steps; rows that are done wait unchanged for the others. Places on
    the way from noise to data are counted in steps: 0 is pure noise, `num_steps` the clean latents. A row may begin at
    any of them, also between two steps: its first step is then a shorter one, to the next whole place.

    Two samplers of one class with the same attributes are equal, so that what was compiled for one serves the other;
    attributes must be hashable.

    Args:
        spacing: how the timesteps are spread over training's, see `spacing.spread`.
        temperature: factor of the initial noise: below 1 pictures come nearer to what is typical, and differ less
            (Kingma and Dhariwal, Glow, arXiv:1807.03039; in a diffusion Popov et al., Grad-TTS, arXiv:2105.06337).
            Fresh noise later on, and that which covers a picture to begin from, stay as they are.

    Raises:
        ValueError: unknown `spacing`, or a `temperature` that is not above 0.
    """

    denoiser_calls = 1  # in one step

    def __init__(self, spacing="trailing", temperature=1.0):
        if spacing not in (*SPACINGS, KARRAS):
            raise ValueError(f"`spacing` must be one of {(*SPACINGS, KARRAS)}. Received: spacing={spacing!r}")
        if not 0.0 < temperature < float("inf"):
            raise ValueError(f"`temperature` must be above 0. Received: temperature={temperature}")
        self.spacing = spacing
        self.temperature = temperature

    def __eq__(self, other):
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self):
        return hash((type(self), *sorted(vars(self).items())))

    def timesteps(self, place, num_steps, noise_schedule):
        """The timestep at a place of `num_steps`, (batch,) each -> float32 (batch,); CLEAN at the end."""
        place = ops.cast(place, "float32")
        below = ops.floor(place)

        def whole(index):
            return ops.where(index < num_steps, spread(self.spacing, index, num_steps, noise_schedule), CLEAN)

        index = ops.cast(below, "int32")
        low, high = whole(index), whole(index + 1)
        return low + (high - low) * (place - below)

    def start(self, noise_schedule, latents, noise, num_steps, first_step):
        """Where to begin in order to keep something of a picture.

        Args:
            noise_schedule: the `NoiseSchedule` of the model.
            latents: float32 (batch, h, w, channels), clean ones.
            noise: float32, shaped like them.
            num_steps: int32 (batch,).
            first_step: float32 (batch,), the place to begin at: `num_steps` gives the latents back, 0 the noise alone,
                also where the schedule leaves some signal at its noisy end.

        Returns:
            float32, like the latents.
        """
        noisy_latents = noise_schedule.add_noise(latents, noise, self.timesteps(first_step, num_steps, noise_schedule))
        return ops.where(ops.reshape(first_step > 0.0, (-1, 1, 1, 1)), noisy_latents, noise)

    def begin(self, noisy_latents, first_step=0.0):
        """What the loop begins with: the initial noise at the temperature, and the state before the first step.

        Args:
            noisy_latents: float32 (batch, h, w, channels), pure noise, or those of `start`.
            first_step: float scalar or (batch,), the place where a row begins. The temperature scales place 0 only.
        """
        if self.temperature != 1.0:
            first_step = ops.zeros_like(noisy_latents[:, 0, 0, 0]) + first_step
            factor = ops.cast(ops.where(first_step > 0.0, 1.0, self.temperature), "float32")
            noisy_latents = noisy_latents * ops.reshape(factor, (-1, 1, 1, 1))
        return noisy_latents, self.init_state(noisy_latents)

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

    def advance(self, denoiser, noise_schedule, noisy_latents, state, index, num_steps, seeds, first_step=0.0):
        """One step of every row that is not done yet; returns noisy latents and state. `begin` gives the first.

        `index` (int scalar or (batch,)) counts from each row's own first step on. The other arguments are those of
        `sample`.
        """
        first_step = ops.zeros_like(num_steps, dtype="float32") + first_step
        rows = ops.cast(ops.floor(first_step), "int32") + index  # the whole places here, or just behind
        place = ops.maximum(first_step, ops.cast(rows, "float32"))
        here = Moment(noise_schedule, self.timesteps(place, num_steps, noise_schedule))
        there = Moment(noise_schedule, self.timesteps(rows + 1, num_steps, noise_schedule))

        def draws():
            return noise.normal(seeds, noisy_latents.shape[1:], stream=rows + 1)

        moved = self.step(denoiser, noisy_latents, state, here, there, draws)
        unfinished = ops.reshape(rows < num_steps, (-1, 1, 1, 1))
        return keras.tree.map_structure(lambda new, old: ops.where(unfinished, new, old), moved, (noisy_latents, state))

    def sample(self, denoiser, noise_schedule, noisy_latents, num_steps, seeds, first_step=0.0):
        """All steps from the first on, in one loop that compiles.

        Args:
            denoiser: (noisy_latents, timesteps) -> (pred_latents, pred_noise).
            noise_schedule: the `NoiseSchedule` of the model.
            noisy_latents: float32 (batch, h, w, channels), pure noise, or those of `start`.
            num_steps: int32 (batch,).
            seeds: int32 (batch,), of the noise that some samplers add.
            first_step: float scalar or (batch,), the place where a row begins, see `start`.

        Returns:
            float32 (batch, h, w, channels), the latents.
        """
        count = ops.max(num_steps - ops.cast(ops.floor(first_step), "int32"))

        def body(index, noisy_latents, state):
            moved = self.advance(denoiser, noise_schedule, noisy_latents, state, index, num_steps, seeds, first_step)
            return (index + 1, *moved)

        begin = (ops.cast(0, "int32"), *self.begin(noisy_latents, first_step))
        return ops.while_loop(lambda index, *_: index < count, body, begin)[1]


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
