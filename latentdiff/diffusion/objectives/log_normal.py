"""Log-normal noise levels."""

from keras import ops

from latentdiff.diffusion.objectives.quantiles import normal_quantiles


class LogNormal:
    """The logarithm of the noise level sigma = noise rate / signal rate is Gaussian.

    Args:
        mean, std: of ln(sigma). The paper has -1.2 and 1.2 for images of standard deviation 0.5. Latents have 1, and
            the default mean is -1.2 + ln 2.

    Raises:
        ValueError: `std` not above 0.

    Reference: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022,
    arXiv:2206.00364, table 1.
    """

    def __init__(self, mean=-0.507, std=1.2):
        if not std > 0.0:
            raise ValueError(f"`std` must be above 0. Received: std={std}")
        self.mean = mean
        self.std = std

    def timesteps(self, quantiles, noise_schedule):
        """Quantiles in [0, 1), float32 (batch,) -> timesteps in [0, num_train_timesteps - 1], float32 (batch,)."""
        sigmas = ops.exp(self.mean + self.std * normal_quantiles(quantiles))
        return ops.clip(noise_schedule.timesteps_of(sigmas), 0.0, noise_schedule.num_train_timesteps - 1.0)

    def get_config(self):
        return {"mean": self.mean, "std": self.std}
