"""The objective: which timesteps are trained, what the network should predict, and how much its errors count."""

import keras

from latentdiff.diffusion.objectives.tables import DISTRIBUTIONS, WEIGHTINGS, config_of, part


@keras.saving.register_keras_serializable(package="latentdiff")
class Objective:
    """A distribution of timesteps, and weights over them.

    Another object takes its place if it has the methods `timesteps`, `target` and `weights`; a model with it can be
    saved if its class is registered by `keras.saving.register_keras_serializable`.

    Args:
        distribution: that of the timesteps: a name of `DISTRIBUTIONS`, a dict of name and arguments, or an object with
            a method `timesteps(quantiles, noise_schedule)`.
        weighting: a name of `WEIGHTINGS`, a dict of name and arguments, or an object with a method
            `weights(timesteps, noise_schedule, prediction_type)`.

    Raises:
        ValueError: an unknown name.
    """

    def __init__(self, distribution="uniform", weighting="min_snr"):
        self.distribution = part(distribution, DISTRIBUTIONS, "distribution")
        self.weighting = part(weighting, WEIGHTINGS, "weighting")

    def timesteps(self, quantiles, noise_schedule):
        """Timesteps, float32 (batch,), of quantiles in [0, 1), float32 (batch,), of their distribution.

        Evenly spread quantiles give a batch that covers the whole distribution.
        """
        return self.distribution.timesteps(quantiles, noise_schedule)

    def target(self, latents, noise, timesteps, noise_schedule, prediction_type):
        """What the network should predict, float32 (batch, h, w, channels) like the latents."""
        return noise_schedule.target(latents, noise, timesteps, prediction_type)

    def weights(self, timesteps, noise_schedule, prediction_type):
        """Weights of the squared error of each prediction, float32 (batch,)."""
        return self.weighting.weights(timesteps, noise_schedule, prediction_type)

    def get_config(self):
        return {
            "distribution": config_of(self.distribution, DISTRIBUTIONS),
            "weighting": config_of(self.weighting, WEIGHTINGS),
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)
