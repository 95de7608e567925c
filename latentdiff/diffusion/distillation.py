"""Progressive distillation: what a network must answer to make in one step what its teacher makes in two."""

from keras import ops

from latentdiff.diffusion.samplers.sampler import Moment


class TwoStepTarget:
    """The answer whose one step of DDIM leads where two steps, half as long, of a teacher lead.

    Args:
        sampler: a `DDIM` without fresh noise.
        noise_schedule: the `NoiseSchedule` of teacher and student.

    Reference: Salimans and Ho, Progressive Distillation for Fast Sampling of Diffusion Models, 2022, arXiv:2202.00512,
    algorithm 2; with a guided teacher Meng et al., On Distillation of Guided Diffusion Models, 2022, arXiv:2210.03142.
    """

    def __init__(self, sampler, noise_schedule):
        if sampler.eta:
            raise ValueError(f"`eta` must be 0 for a sampler that is distilled. Received: eta={sampler.eta}")
        self.sampler = sampler
        self.noise_schedule = noise_schedule

    def trajectory(self, teacher, noise, num_steps):
        """The way of the teacher from pure noise, with what the student must see at the beginning of each of its steps.

        So the student is asked where it will be when it samples, not at images of the data with noise added
        (Kohler et al., Imagine Flash, 2024, arXiv:2405.05224, section 3.1, on why that matters).

        Args:
            teacher: a denoiser for the batch.
            noise: float32 (batch, h, w, channels), at the temperature of the sampler.
            num_steps: int, steps of the student.

        Returns:
            noisy_latents, timesteps, pred_latents and pred_noise of num_steps * batch rows, the first step of all
            images in front; float32.
        """
        noise = ops.stop_gradient(noise)
        batch = ops.shape(noise)[0]

        def step(noisy_latents, place):
            reached = self.two_steps(teacher, noisy_latents, self.moments(*_rows(place, batch, num_steps)))
            return reached, reached

        _, reached = ops.scan(step, noise, ops.arange(num_steps, dtype="int32"))  # (steps, b, h, w, c)
        noisy_latents = ops.concatenate([noise[None], reached[:-1]])
        noisy_latents, reached = (ops.reshape(each, (-1, *noise.shape[1:])) for each in (noisy_latents, reached))
        here, _, there = self.moments(*_rows(ops.repeat(ops.arange(num_steps), batch), num_steps * batch, num_steps))
        return noisy_latents, here.timesteps, *line_through(noisy_latents, reached, here, there)

    def moments(self, places, num_steps):
        """Beginning, middle and end of a step, three `Moment`s; places and num_steps (batch,), see `Sampler`."""
        places = ops.cast(places, "float32")
        parts = (self.sampler.timesteps(places + part, num_steps, self.noise_schedule) for part in (0.0, 0.5, 1.0))
        return tuple(Moment(self.noise_schedule, timesteps) for timesteps in parts)

    def two_steps(self, teacher, noisy_latents, moments):
        """Where two steps of the teacher lead, from the first moment over the second to the third."""
        here, middle, there = moments
        halfway, _ = self.sampler.step(teacher, noisy_latents, (), here, middle, None)
        return self.sampler.step(teacher, halfway, (), middle, there, None)[0]


def _rows(places, count, num_steps):
    """Places and numbers of steps, int32 (count,)."""
    zeros = ops.zeros((count,), "int32")
    return zeros + places, zeros + num_steps


def line_through(noisy_latents, reached, here, there):
    """The (pred_latents, pred_noise) that are these noisy latents at one moment, and those reached at a later one.

    Two linear equations, `signal_rate * latents + noise_rate * noise` at either moment; their determinant is above 0
    since there is less noise later.
    """
    determinant = there.signal_rates * here.noise_rates - there.noise_rates * here.signal_rates
    pred_latents = (here.noise_rates * reached - there.noise_rates * noisy_latents) / determinant
    pred_noise = (there.signal_rates * noisy_latents - here.signal_rates * reached) / determinant
    return pred_latents, pred_noise
