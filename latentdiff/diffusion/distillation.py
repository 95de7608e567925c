"""Progressive distillation: what a network must answer to make in one step what its teacher makes in several."""

from keras import ops

from latentdiff.diffusion.samplers.ddim import DDIM
from latentdiff.diffusion.samplers.sampler import Moment


class Trajectory:
    """The way of a teacher from noise to latents, cut into the steps of a student, which are steps of DDIM.

    Args:
        noise_schedule: the `NoiseSchedule` of teacher and student.
        num_steps: int >= 1, steps of the student.
        substeps: int >= 1, steps of the teacher in each of them.
        sampler: the `Sampler` of the teacher, without fresh noise; DDIM by default. Its places are those of the
            student, and those between them.

    Reference: Salimans and Ho, Progressive Distillation for Fast Sampling of Diffusion Models, 2022, arXiv:2202.00512,
    algorithm 2; with a guided teacher Meng et al., On Distillation of Guided Diffusion Models, 2022, arXiv:2210.03142.
    """

    def __init__(self, noise_schedule, num_steps, substeps=2, sampler=None):
        self.noise_schedule = noise_schedule
        self.num_steps = num_steps
        self.substeps = substeps
        self.sampler = sampler or DDIM()

    def examples(self, teacher, noise):
        """What the student sees at the beginning of each of its steps, and what it must answer.

        So it is asked where it will be when it samples, not at images of the data with noise added (Kohler et al.,
        Imagine Flash, 2024, arXiv:2405.05224, section 3.1, on why that matters).

        Args:
            teacher: a denoiser for the batch.
            noise: float32 (batch, h, w, channels), at the temperature of the sampler.

        Returns:
            noisy_latents, timesteps, pred_latents and pred_noise of num_steps * batch rows, the first step of all
            images in front; float32.

        Raises:
            ValueError: a sampler that adds fresh noise.
        """
        noise = ops.stop_gradient(noise)
        batch = ops.shape(noise)[0]
        begins = ops.concatenate([noise[None], self._reached(teacher, noise)])  # (steps + 1, b, h, w, c)
        noisy_latents, reached = (ops.reshape(part, (-1, *noise.shape[1:])) for part in (begins[:-1], begins[1:]))
        steps = ops.repeat(ops.arange(self.num_steps), batch)
        here, there = self.moment(steps, self.num_steps * batch), self.moment(steps + 1, self.num_steps * batch)
        return noisy_latents, here.timesteps, *line_through(noisy_latents, reached, here, there)

    def moment(self, place, count):
        """The `Moment` of `count` rows at a place (scalar or one each), counted in steps of the student."""
        places = ops.zeros((count,)) + ops.cast(place, "float32")
        num_steps = ops.zeros((count,), "int32") + self.num_steps
        return Moment(self.noise_schedule, DDIM().timesteps(places, num_steps, self.noise_schedule))

    def _reached(self, teacher, noise):
        """Where the teacher is at the end of each of the student's steps, (steps, b, h, w, c)."""
        batch = ops.shape(noise)[0]

        def step(carried, index):
            here, there = (self.moment(place / self.substeps, batch) for place in (index, index + 1))
            moved = self.sampler.step(teacher, *carried, here, there, _no_draws)
            return moved, moved  # on TensorFlow, Keras stacks what is structured like the first

        begin = (noise, self.sampler.init_state(noise))
        _, (reached, _) = ops.scan(step, begin, ops.arange(self.num_steps * self.substeps, dtype="float32"))
        return reached[self.substeps - 1 :: self.substeps]


def line_through(noisy_latents, reached, here, there):
    """The (pred_latents, pred_noise) that are these noisy latents at one moment, and those reached at a later one.

    Two linear equations, `signal_rate * latents + noise_rate * noise` at either moment; their determinant is above 0
    since there is less noise later.
    """
    determinant = there.signal_rates * here.noise_rates - there.noise_rates * here.signal_rates
    pred_latents = (here.noise_rates * reached - there.noise_rates * noisy_latents) / determinant
    pred_noise = (there.signal_rates * noisy_latents - here.signal_rates * reached) / determinant
    return pred_latents, pred_noise


def _no_draws():
    raise ValueError("`sampler` must add no fresh noise, as DDIM with eta 0 and dpmpp_2m, to be distilled.")
