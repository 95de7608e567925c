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

    def moments(self, places, num_steps):
        """Beginning, middle and end of a step, three `Moment`s; places and num_steps (batch,), see `Sampler`."""
        places = ops.cast(places, "float32")
        parts = (self.sampler.timesteps(places + part, num_steps, self.noise_schedule) for part in (0.0, 0.5, 1.0))
        return tuple(Moment(self.noise_schedule, timesteps) for timesteps in parts)

    def __call__(self, teacher, noisy_latents, moments):
        """The clean latents and the noise that the student must see in noisy latents.

        Args:
            teacher: a denoiser.
            noisy_latents: float32 (batch, h, w, channels), at the first moment.
            moments: those of the step, see `moments`.

        Returns:
            pred_latents, pred_noise: float32, shaped like `noisy_latents`.
        """
        here, middle, there = moments
        halfway, _ = self.sampler.step(teacher, noisy_latents, (), here, middle, None)
        reached, _ = self.sampler.step(teacher, halfway, (), middle, there, None)
        return line_through(noisy_latents, reached, here, there)


def line_through(noisy_latents, reached, here, there):
    """The (pred_latents, pred_noise) that are these noisy latents at one moment, and those reached at a later one.

    Two linear equations, `signal_rate * latents + noise_rate * noise` at either moment; their determinant is above 0
    since there is less noise later.
    """
    determinant = there.signal_rates * here.noise_rates - there.noise_rates * here.signal_rates
    pred_latents = (here.noise_rates * reached - there.noise_rates * noisy_latents) / determinant
    pred_noise = (there.signal_rates * noisy_latents - here.signal_rates * reached) / determinant
    return pred_latents, pred_noise
