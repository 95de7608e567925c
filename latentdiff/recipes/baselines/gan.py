"""A small GAN on the latents of diffusion: one call of its generator makes an image."""

import keras
from keras import ops

from latentdiff.models import replicas
from latentdiff.models.trainable_model import TrainableModel
from latentdiff.recipes.baselines.networks import CODE_DIM, build_generator, build_reader

BLUR_NOISE = 0.3  # noise on what the judge sees, so that it can't tell at a glance (Arjovsky and Bottou, 1701.04862)
# Keeps the judge smooth around real images, as the gradient penalty R1 does (Mescheder et al., 2018,
# arXiv:1801.04406), from two draws of that noise instead of a gradient (Lin et al., 2025, arXiv:2501.08316).
SMOOTHNESS = 5.0


class GAN(TrainableModel):
    """A generator and its judge, trained by one optimizer in one pass: the judge on images that it can't change the
    generator through, the generator through a judge whose weights stand still.

    Reference: Goodfellow et al., Generative Adversarial Networks, 2014, arXiv:1406.2661, the non-saturating loss.
    """

    def __init__(self, latent_shape, features_dim, width, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.generator = build_generator(latent_shape, CODE_DIM, features_dim, width)
        self.judge = build_reader(latent_shape, features_dim, width, 1)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, data, training=False):
        real, features = data["latents"], data["features"]
        codes = replicas.draw(keras.random.normal, (ops.shape(real)[0], CODE_DIM), self.seed_generator)
        made = self.generator([codes, features], training=training)
        seen = self._blurred(made)
        still = [ops.stop_gradient(variable.value) for variable in self.judge.trainable_variables]
        held = [variable.value for variable in self.judge.non_trainable_variables]
        return {
            "of_real": self.judge([self._blurred(real), features]),
            "of_real_again": self.judge([self._blurred(real), features]),
            "of_made": self.judge([ops.stop_gradient(seen), features]),
            "of_made_for_generator": self.judge.stateless_call(still, held, [seen, features])[0],
        }

    def _blurred(self, latents):
        return latents + BLUR_NOISE * replicas.draw(keras.random.normal, ops.shape(latents), self.seed_generator)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        of_real, of_made = y_pred["of_real"], y_pred["of_made"]
        judge = ops.softplus(-of_real) + ops.softplus(of_made)
        judge = judge + SMOOTHNESS * ops.square(of_real - y_pred["of_real_again"])
        return replicas.share(ops.mean(judge + ops.softplus(-y_pred["of_made_for_generator"])))
