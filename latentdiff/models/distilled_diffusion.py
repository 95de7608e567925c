"""A training model that learns to sample in half the steps, again and again."""

import keras
from keras import ops

from latentdiff.diffusion import conditioning as trees
from latentdiff.diffusion.denoiser import Denoiser
from latentdiff.diffusion.distillation import TwoStepTarget
from latentdiff.diffusion.guidance import ClassifierFreeGuidance
from latentdiff.diffusion.samplers import DDIM
from latentdiff.models import replicas
from latentdiff.models.latent_diffusion import LatentDiffusion, loss_weights


class DistilledDiffusion(LatentDiffusion):
    """A `LatentDiffusion` whose network (or adapter) learns to make in one step what a frozen copy makes in two.

    Call `begin_phase`, `compile` and `fit` for 8 steps, then for 4, 2, 1: each phase halves the steps of the one
    before, whose network becomes the teacher. Guidance of the first teacher is learned along, so the student needs
    none, which is half the work.

    Args:
        model: the trained `LatentDiffusion`. This model shares its parts, so `model` is what to save in the end.
        temperature: that of the sampler that will be used, see `Sampler`.
        seed: of places, noise and posterior samples.

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
        self.num_steps = self.add_weight(name="num_steps", shape=(), dtype="int32", initializer="ones", trainable=False)
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
        self.num_steps.assign(num_steps)
        self.guidance = guidance

    @property
    def fixed_variables(self):
        return [*super().fixed_variables, *self.teacher.variables]

    def call(self, data, training=False):
        latents = self._latents(data, training)
        quantiles, draws = self._draws(latents, training)
        num_steps = self.num_steps + ops.zeros_like(quantiles, dtype="int32")
        places = ops.minimum(ops.cast(ops.floor(quantiles * ops.cast(num_steps, "float32")), "int32"), num_steps - 1)
        moments = self._target.moments(places, num_steps)
        timesteps = moments[0].timesteps
        noisy_latents = self.noise_schedule.add_noise(latents, self._cooled(draws, training), timesteps)
        conditioning = self._conditioning({**self._image_members(data, latents, training), **data}, training)
        answer = self._target(self._teacher_for(conditioning), noisy_latents, moments)
        inputs = {"noisy_latents": noisy_latents, "timesteps": timesteps, **conditioning}
        spec = (timesteps, self.prediction_type)
        return {
            "prediction": ops.cast(self.network(inputs, training=training), "float32"),
            "target": ops.stop_gradient(self.noise_schedule.target(*answer, *spec)),
            # SNR + 1 in the latents, section 4 of the paper: 1 for velocity where variance is preserved.
            "weights": self.noise_schedule.prediction_weights(self.noise_schedule.snr(timesteps) + 1.0, *spec)
            * loss_weights(data),
        }

    def _cooled(self, draws, training):
        """Noise whose standard deviation lies between the temperature and 1: less is left where sampling began cold."""
        if self.temperature == 1.0:
            return draws
        low, high = sorted((self.temperature, 1.0))
        rows = (ops.shape(draws)[0], 1, 1, 1)
        if training:
            return draws * (low + (high - low) * replicas.draw(keras.random.uniform, rows, self.seed_generator))
        return draws * self.temperature

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
