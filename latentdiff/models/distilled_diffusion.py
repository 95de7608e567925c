"""A training model that learns to sample in fewer steps."""

from keras import ops

from latentdiff.diffusion import conditioning as trees
from latentdiff.diffusion.denoiser import Denoiser
from latentdiff.diffusion.distillation import Trajectory
from latentdiff.diffusion.guidance import ClassifierFreeGuidance
from latentdiff.models.latent_diffusion import LatentDiffusion, loss_weights


class DistilledDiffusion(LatentDiffusion):
    """A `LatentDiffusion` whose network (or adapter) learns to make in one step what a frozen copy makes in several.

    Call `begin_phase`, `compile` and `fit` for 4 steps, then for 2, then for 1: the network as it then is becomes the
    teacher of each phase. Guidance of the first teacher is learned along, so the student needs none, which is half the
    work. Of the data only the captions count: the student learns along the way of the teacher from noise to each of
    them, so a batch of 32 is one of 128 examples for a student of 4 steps.

    Args:
        model: the trained `LatentDiffusion`. This model shares its parts, so `model` is what to save in the end.
        temperature: that of the sampler that will be used, see `Sampler`.
        seed: of the noise.

    Call arguments and result: those of `LatentDiffusion`.

    Reference: see `diffusion.distillation.Trajectory`.
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
        self.trajectory = Trajectory(self.noise_schedule, 1)
        self.guidance = None

    def begin_phase(self, num_steps, guidance=None, substeps=2, sampler=None):
        """The network as it is now, with its adapters, becomes the teacher of a student of `num_steps` steps.

        Call `compile` afterwards.

        Args:
            num_steps: int >= 1, steps of the student.
            guidance: None, or a dict of arguments of `ClassifierFreeGuidance` for the teacher, with a
                `guidance_scale`; of the first phase.
            substeps, sampler: how many steps the teacher takes for one of the student, and its sampler, see
                `Trajectory`.

        Raises:
            ValueError: more steps of the teacher than there are timesteps.
        """
        most = self.noise_schedule.num_train_timesteps // substeps
        if not 1 <= num_steps <= most:
            raise ValueError(f"`num_steps` must be a whole number from 1 to {most}. Received: {num_steps=}")
        with self.lora.merged():
            self.teacher.set_weights(self.network.get_weights())
        self.trajectory = Trajectory(self.noise_schedule, num_steps, substeps, sampler)
        self.guidance = guidance

    @property
    def fixed_variables(self):
        return [*super().fixed_variables, *self.teacher.variables]

    def call(self, data, training=False):
        latents = self._latents(data, training)
        noise = self.temperature * self._draw(latents, ops.shape(latents)[1:], training)
        conditioning = self._conditioning({**self._image_members(data, latents, training), **data}, training)
        examples = self.trajectory.examples(self._teacher_for(conditioning), noise)
        noisy_latents, timesteps, *answer = map(ops.stop_gradient, examples)
        num_steps = self.trajectory.num_steps
        inputs = {"noisy_latents": noisy_latents, "timesteps": timesteps}
        inputs |= trees.repeated(conditioning, num_steps)
        spec = (timesteps, self.prediction_type)
        # SNR + 1 in the latents, section 4 of the paper: 1 for velocity where variance is preserved.
        weights = self.noise_schedule.prediction_weights(self.noise_schedule.snr(timesteps) + 1.0, *spec)
        return {
            "prediction": ops.cast(self.network(inputs, training=training), "float32"),
            "target": self.noise_schedule.target(*answer, *spec),
            "weights": weights * trees.repeated(loss_weights(data) * ops.ones(ops.shape(noise)[:1]), num_steps),
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
