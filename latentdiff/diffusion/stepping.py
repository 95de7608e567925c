"""Sampling cut at the calls of the network, for programs that call the network themselves: LiteRT hosts, browsers,
clients of a server. What such a program runs between two calls is `Stepper.start` and `Stepper.advance`, exported."""

from keras import ops

from latentdiff.diffusion import noise
from latentdiff.diffusion.denoiser import KnownRegion
from latentdiff.diffusion.guidance import ClassifierFreeGuidance
from latentdiff.diffusion.watching import observe


class Stepper:
    """A sampler as two functions of named tensors. What `advance` returns under the name of an input is that input at
    the next step, so that the loop of a program is

        values = {**settings, **start(...)}
        while step < num_steps:
            prediction = the network's answer to noisy_latents at timesteps, for prompt and negative prompt
            values |= advance(**values, prediction)

    Args:
        sampler: a `Sampler` that asks the denoiser once a step.
        noise_schedule: the `NoiseSchedule` of the model.
        prediction_type: what its network predicts.
        latent_shape: (h, w, channels) of the latents.

    Raises:
        ValueError: a sampler that asks the denoiser more than once a step, such as Heun.
    """

    def __init__(self, sampler, noise_schedule, prediction_type, latent_shape):
        if sampler.denoiser_calls != 1:
            raise ValueError(
                "`sampler` must ask the denoiser once a step to be cut there. "
                f"Received: sampler={type(sampler).__name__}, which asks {sampler.denoiser_calls} times"
            )
        noise_schedule.check(prediction_type)
        self.sampler = sampler
        self.noise_schedule = noise_schedule
        self.prediction_type = prediction_type
        self.latent_shape = tuple(latent_shape)
        self.state_names = [f"state_{index}" for index in range(len(sampler.init_state(ops.zeros((1, *latent_shape)))))]

    def start(self, seeds, num_steps, first_step, latents):
        """What the loop begins with.

        Args:
            seeds: int32 (batch,).
            num_steps: int32 (batch,).
            first_step: float32 (batch,), the place to begin at, `num_steps * (1 - strength)`; 0 for noise alone.
            latents: float32 (batch, h, w, channels), the encoded images to begin with; not read at place 0.

        Returns:
            dict of `noisy_latents`, float32 like the latents, the initial noise at its temperature or the latents with
            noise; `step` int32 (batch,), the step to take next; `timesteps` float32 (batch,), when to ask the network;
            and the state.
        """
        draws = noise.normal(seeds, self.latent_shape)
        noisy_latents = self.sampler.start(self.noise_schedule, latents, draws, num_steps, first_step)
        noisy_latents, state = self.sampler.begin(noisy_latents, first_step)
        timesteps = self.sampler.timesteps(first_step, num_steps, self.noise_schedule)
        return self._values(noisy_latents, state, ops.cast(ops.floor(first_step), "int32"), timesteps)

    def advance(
        self,
        prediction,
        negative_prediction,
        noisy_latents,
        step,
        seeds,
        num_steps,
        first_step,
        latents,
        repaint,
        guidance_scale,
        guidance_rescale,
        guidance_interval,
        **state,
    ):
        """One step of every row that is not done yet.

        Args:
            prediction, negative_prediction: float32 (batch, h, w, channels), the network's answers for the prompts and
                for the negative prompts; the second is not read where `guidance_scale` is 1.
            noisy_latents, step, state: those of `start` or of the last step.
            seeds, num_steps, first_step, latents: those of `start`.
            repaint: float32 (batch, h, w, 1), 1 where to paint, 0 where `latents` are kept; all 1 without a mask.
            guidance_scale, guidance_rescale: float32 (batch,).
            guidance_interval: float32 (batch, 2), the noise levels between which rows are guided.

        Returns:
            dict of `noisy_latents`, `step`, `timesteps` and the state, as `start` gives them, and of `pred_latents`,
            the clean latents that the step went by.
        """
        both = ops.concatenate([prediction, _where_guided(guidance_scale, negative_prediction, prediction)])
        denoiser = ClassifierFreeGuidance(
            Answered(both, self.noise_schedule, self.prediction_type),
            guidance_scale,
            guidance_rescale,
            ops.split(guidance_interval, 2, axis=1),
        )
        denoiser = KnownRegion(denoiser, self.noise_schedule, latents, repaint > 0.5)
        state = tuple(state[name] for name in self.state_names)
        index = step - ops.cast(ops.floor(first_step), "int32")
        noisy_latents, state, pred_latents, timesteps = observe(
            self.sampler, denoiser, self.noise_schedule, noisy_latents, state, index, num_steps, seeds, first_step
        )
        values = self._values(noisy_latents, state, ops.minimum(step + 1, num_steps), timesteps)
        return {**values, "pred_latents": pred_latents}

    def _values(self, noisy_latents, state, step, timesteps):
        # The network has never seen the clean end of time, where rows wait that are done.
        values = {"noisy_latents": noisy_latents, "step": step, "timesteps": ops.maximum(timesteps, 0.0)}
        return values | dict(zip(self.state_names, state, strict=True))


class Answered:
    """A denoiser whose network has answered already.

    Args:
        prediction: float32 (batch, h, w, channels), the answer.
        noise_schedule, prediction_type: those of the network.

    Call arguments and result: those of a denoiser; it can be asked once.

    Raises:
        ValueError: it is asked again, by a sampler that understates its `denoiser_calls`.
    """

    def __init__(self, prediction, noise_schedule, prediction_type):
        self.prediction = prediction
        self.noise_schedule = noise_schedule
        self.prediction_type = prediction_type
        self._asked = False

    def __call__(self, noisy_latents, timesteps):
        if self._asked:
            raise ValueError("`sampler.denoiser_calls` must count the denoiser calls of a step. Received: 1 of several")
        self._asked = True
        return self.noise_schedule.split(self.prediction, noisy_latents, timesteps, self.prediction_type)


def _where_guided(guidance_scale, guided, plain):
    return ops.where(ops.reshape(guidance_scale != 1.0, (-1, 1, 1, 1)), guided, plain)
