"""A small VAE on the latents of diffusion: one call of its generator makes an image."""

import keras
from keras import ops

from latentdiff.models import replicas
from latentdiff.models.trainable_model import TrainableModel
from latentdiff.recipes.baselines.networks import CODE_DIM, build_generator, build_reader

KL_WEIGHT = 1.0  # per latent number, the error of a Gaussian of variance 1: the evidence lower bound


class VAE(TrainableModel):
    """Latents to a Gaussian over codes, a code of it back to latents; both know the text.

    Reference: Kingma and Welling, Auto-Encoding Variational Bayes, 2013, arXiv:1312.6114.
    """

    def __init__(self, latent_shape, features_dim, width, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.reader = build_reader(latent_shape, features_dim, width, 2 * CODE_DIM)
        self.generator = build_generator(latent_shape, CODE_DIM, features_dim, width)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, data, training=False):
        mean, log_variance = ops.split(self.reader([data["latents"], data["features"]]), 2, axis=-1)
        draws = ops.zeros_like(mean)
        if training:
            draws = replicas.draw(keras.random.normal, ops.shape(mean), self.seed_generator)
        codes = mean + ops.exp(0.5 * log_variance) * draws
        rebuilt = self.generator([codes, data["features"]], training=training)
        return {"rebuilt": rebuilt, "mean": mean, "log_variance": log_variance}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        error = 0.5 * ops.sum(ops.square(y_pred["rebuilt"] - x["latents"]), axis=(1, 2, 3))
        return replicas.share(ops.mean(error + KL_WEIGHT * kl(y_pred["mean"], y_pred["log_variance"])))


def kl(mean, log_variance):
    """Divergence (batch,) of Gaussians (batch, dim) from the standard one."""
    return 0.5 * ops.sum(ops.square(mean) + ops.exp(log_variance) - 1.0 - log_variance, axis=-1)
