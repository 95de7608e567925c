"""A training model that learns to sample in half the steps, again and again."""

from keras import ops

from latentdiff.diffusion import conditioning as trees
from latentdiff.diffusion.denoiser import Denoiser
from latentdiff.diffusion.distillation import TwoStepTarget
from latentdiff.diffusion.guidance import ClassifierFreeGuidance
from latentdiff.diffusion.samplers import DDIM
from latentdiff.models.latent_diffusion import LatentDiffusion, loss_weights


class DistilledDiffusion(LatentDiffusion):
    """A `LatentDiffusion` whose network (or adapter) learns to make in one step what a frozen copy makes in two.

    Call `begin_phase`, `compile` and `fit` for 8 steps, then for 4, 2, 1: each phase halves the steps of the one
    before, whose network becomes the teacher. Guidance of the first teacher is learned along, so the student needs
    none, which is half the work. Of the data only the captions count: the student learns along the way of the teacher
    from noise to each of them, so a batch of 32 is one of 256 examples for a student of 8 steps.

    Args:
        model: the trained `LatentDiffusion`. This model shares its parts, so `model` is what to save in the end.
        temperature: that of the sampler that will be used, see `Sampler`.
        seed: of the noise.

    Call arguments and result: those of `LatentDiffusion`.

    Reference: see `TwoStepTarget`.
    """

    def __init__(self, model, temperature=1.0, seed=0, name="latent_diffusion"):
        super().__init__(
            model.autoencoder,
            model.text_encoder,
            model.network,
            model.noise_schedule,
            prediction_type=model.prediction_type,
            context_dropout=0.0,
            min_snr_gamma=model.min_snr_gamma,
            objective=model.objective,
            seed=seed,
            name=name,
        )
        self.temperature = temperature
        self.teacher = type(model.network).from_config({**model.network.get_config(), "name": "teacher"})
        self.teacher.trainable = False
        self.num_steps = 1
        self.guidance = None
        self._target = TwoStepTarget(DDIM(), self.noise_schedule)

    def begin_phase(self, num_steps, guidance=None):
        """The network as it is now, with its adapters, becomes the teacher of a student of `num_steps` steps.

        Call `compile` afterwards.

        Args:
            num_steps: int >= 1, steps of the student; the teacher takes twice as many.
            guidance: None, or a dict of arguments of `ClassifierFreeGuidance` for the teacher, with a
                `guidance_scale`; of the first phase.

        Raises:
            ValueError: more steps of the teacher than there are timesteps.
        """
        most = self.noise_schedule.num_train_timesteps // 2
        if not 1 <= num_steps <= most:
            raise ValueError(f"`num_steps` must be a whole number from 1 to {most}. Received: {num_steps=}")
        with self.lora.merged():
            self.teacher.set_weights(self.network.get_weights())
        self.num_steps = num_steps
        self.guidance = guidance

    @property
    def fixed_variables(self):
        return [*super().fixed_variables, *self.teacher.variables]

    def call(self, data, training=False):
        latents = self._latents(data, training)
        noise = self.temperature * self._draw(latents, ops.shape(latents)[1:], training)
        conditioning = self._conditioning({**self._image_members(data, latents, training), **data}, training)
        trajectory = self._target.trajectory(self._teacher_for(conditioning), noise, self.num_steps)
        noisy_latents, timesteps, *answer = map(ops.stop_gradient, trajectory)
        inputs = {"noisy_latents": noisy_latents, "timesteps": timesteps}
        inputs |= trees.repeated(conditioning, self.num_steps)
        spec = (timesteps, self.prediction_type)
        # SNR + 1 in the latents, section 4 of the paper: 1 for velocity where variance is preserved.
        weights = self.noise_schedule.prediction_weights(self.noise_schedule.snr(timesteps) + 1.0, *spec)
        return {
            "prediction": ops.cast(self.network(inputs, training=training), "float32"),
            "target": self.noise_schedule.target(*answer, *spec),
            "weights": weights * trees.repeated(loss_weights(data) * ops.ones(ops.shape(noise)[:1]), self.num_steps),
        }

    def _teacher_for(self, conditioning):
        """The denoiser of the teacher, guided in the first phase."""
        spec = (self.noise_schedule, self.prediction_type)
        if self.guidance is None:
            return Denoiser(self._asked, *spec, conditioning)
        null = self.condition(ops.convert_to_tensor(self.text_encoder.tokenize([""])))
        both = trees.with_null(conditioning, null)
        count = ops.shape(next(iter(conditioning.values())))[0]
        scale = self.guidance["guidance_scale"] * ops.ones((count,), "float32")
        return ClassifierFreeGuidance(Denoiser(self._asked, *spec, both), **{**self.guidance, "guidance_scale": scale})

    def _asked(self, inputs):
        return self.teacher(inputs, training=False)
