"""DDIM."""

from keras import ops

from latentdiff.diffusion.samplers.sampler import Moment, Sampler


class DDIM(Sampler):
    """Denoising diffusion implicit models: take the guess of the clean latents, put the guessed noise back at the
    next, lower level.

    Args:
        eta: share of fresh noise in what is put back, in [0, 1]; 0 makes the image a function of the first noise.
        spacing, temperature: see `Sampler`.

    Reference: Song et al., Denoising Diffusion Implicit Models, 2020, arXiv:2010.02502, equations 12 and 16.
    """

    def __init__(self, eta=0.0, spacing="trailing", temperature=1.0):
        super().__init__(spacing, temperature)
        if not 0.0 <= eta <= 1.0:
            raise ValueError(f"`eta` must lie in [0, 1]. Received: eta={eta}")
        self.eta = eta

    def step(self, denoiser, noisy_latents, state, here, there, draws):
        pred_latents, pred_noise = denoiser(noisy_latents, here.timesteps)
        if not self.eta:
            return there.signal_rates * pred_latents + there.noise_rates * pred_noise, state
        fresh = self.eta * self.posterior_std(here, there)
        kept = ops.sqrt(ops.maximum(ops.square(there.noise_rates) - ops.square(fresh), 0.0))
        return there.signal_rates * pred_latents + kept * pred_noise + fresh * draws(), state

    def posterior_std(self, here, there):
        """Standard deviation of the noise of a step of DDPM: that of q(latents there | latents here, clean latents)."""
        shrink = here.signal_rates / there.signal_rates
        added = ops.square(here.noise_rates) - ops.square(
            shrink * there.noise_rates
        )  # variance added from there to here
        return (there.noise_rates / here.noise_rates) * ops.sqrt(ops.maximum(added, 0.0))

    def invert(self, denoiser, noise_schedule, latents, num_steps, num_iterations=5):
        """The noise that `sample` makes these latents of, in one loop that compiles.

        A step is taken back by looking for the latents that it would lead here from: the step is tried, and what it
        misses by is added, as much as is right where latents are Gaussian with variance 1, `num_iterations` times. One
        iteration is the inversion of the paper, at the noise level where the step begins.

        Args:
            denoiser, noise_schedule: as in `sample`.
            latents: float32 (batch, h, w, channels).
            num_steps: int32 (batch,).
            num_iterations: int >= 1, the denoiser calls per step.

        Returns:
            float32 (batch, h, w, channels), the noise.

        Raises:
            ValueError: a sampler that adds noise, or no iteration.

        Reference: Song et al., arXiv:2010.02502, section 4.3 and equation 14; the iterations are those of Pan et al.,
        Effective Real Image Editing with Accelerated Iterative Diffusion Inversion, 2023, arXiv:2309.04907.
        """
        if self.eta:
            raise ValueError(f"`eta` must be 0 for a sampler that is inverted. Received: eta={self.eta}")
        if num_iterations < 1:
            raise ValueError(f"`num_iterations` must be at least 1. Received: num_iterations={num_iterations}")

        def body(index, latents):
            rows = num_steps - 1 - index  # the place to go back to
            back = self._step_back(denoiser, noise_schedule, latents, rows, num_steps, num_iterations)
            return index + 1, ops.where(ops.reshape(rows >= 0, (-1, 1, 1, 1)), back, latents)

        last = ops.max(num_steps)
        first = ops.while_loop(lambda index, _: index < last, body, (ops.cast(0, "int32"), latents))[1]
        return first / self.temperature

    def _step_back(self, denoiser, noise_schedule, latents, rows, num_steps, num_iterations):
        """The noisy latents that the step from place `rows` on takes to `latents`."""
        here = Moment(noise_schedule, self.timesteps(ops.maximum(rows, 0), num_steps, noise_schedule))
        there = Moment(noise_schedule, self.timesteps(rows + 1, num_steps, noise_schedule))
        power = ops.square(here.signal_rates) + ops.square(here.noise_rates)
        overlap = here.signal_rates * there.signal_rates + here.noise_rates * there.noise_rates
        gain = power / ops.maximum(overlap, 1e-3)
        noisy_latents = latents
        for _ in range(num_iterations):
            reached, _ = self.step(denoiser, noisy_latents, (), here, there, None)
            noisy_latents = noisy_latents + gain * (latents - reached)
        return noisy_latents
