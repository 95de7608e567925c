"""The loop of a sampler, seen step by step: previews, trajectories and figures look on and rebuild nothing."""

import typing

from keras import ops


class Frame(typing.NamedTuple):
    """The loop between two steps.

    Attributes:
        noisy_latents: (batch, h, w, channels), as they are now; in the first frame those that the loop begins with.
        pred_latents: the clean latents that the denoiser predicted in the step that led here; None in the first frame.
        timesteps: (batch,), of `noisy_latents`; CLEAN at the end.
    """

    noisy_latents: typing.Any
    pred_latents: typing.Any
    timesteps: typing.Any


class Recorder:
    """A denoiser that remembers what it predicted first, of all calls of a step.

    Args:
        denoiser: the denoiser that is asked.
    """

    def __init__(self, denoiser):
        self.denoiser = denoiser
        self.pred_latents = None

    def __call__(self, noisy_latents, timesteps):
        pred_latents, pred_noise = self.denoiser(noisy_latents, timesteps)
        self.pred_latents = pred_latents if self.pred_latents is None else self.pred_latents
        return pred_latents, pred_noise


def observe(sampler, denoiser, noise_schedule, noisy_latents, state, index, num_steps, seeds, first_step=0.0):
    """A step with what can be seen of it; the arguments are those of `Sampler.advance`.

    Returns:
        noisy latents and state, as `Sampler.advance` gives them; the clean latents that the denoiser predicted, of a
        row that was done already the latents themselves; and the timesteps reached.
    """
    recorder = Recorder(denoiser)
    moved = sampler.advance(recorder, noise_schedule, noisy_latents, state, index, num_steps, seeds, first_step)
    rows = ops.cast(ops.floor(ops.zeros_like(num_steps, dtype="float32") + first_step), "int32") + index
    done = ops.reshape(rows >= num_steps, (-1, 1, 1, 1))
    pred_latents = ops.where(done, noisy_latents, recorder.pred_latents)
    return *moved, pred_latents, sampler.timesteps(rows + 1, num_steps, noise_schedule)


def watch(sampler, noise_schedule, step, noisy_latents, num_steps, first_step=0.0):
    """The loop of `Sampler.sample`, one step at a time.

    Args:
        sampler, noise_schedule: the `Sampler` and the `NoiseSchedule` of the model.
        step: function (noisy_latents, state, index) -> what `observe` returns; compiled, it is as fast as the loop.
        noisy_latents, num_steps, first_step: as in `Sampler.sample`.

    Yields:
        A `Frame` before the first step and one after each.
    """
    first_step = ops.zeros_like(num_steps, dtype="float32") + first_step
    noisy_latents, state = sampler.begin(noisy_latents, first_step)
    yield Frame(noisy_latents, None, sampler.timesteps(first_step, num_steps, noise_schedule))
    for index in range(int(ops.max(num_steps - ops.cast(ops.floor(first_step), "int32")))):
        noisy_latents, state, *seen = step(noisy_latents, state, ops.cast(index, "int32"))
        yield Frame(noisy_latents, *seen)
