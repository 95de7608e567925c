"""Logit-normal timesteps."""

from keras import ops

from latentdiff.diffusion.objectives.quantiles import normal_quantiles


class LogitNormal:
    """The logit of the share of time is Gaussian: the middle of time is likelier than its ends.

    Args:
        mean: above 0 prefers noisy timesteps, below 0 clean ones.
        std: standard deviation of the logit, above 0.

    Raises:
        ValueError: `std` not above 0.

    Reference: Esser et al., Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, 2024,
    arXiv:2403.03206, equation 19.
    """

    def __init__(self, mean=0.0, std=1.0):
        if not std > 0.0:
            raise ValueError(f"`std` must be above 0. Received: std={std}")
        self.mean = mean
        self.std = std

    def timesteps(self, quantiles, noise_schedule):
        """Quantiles in [0, 1), float32 (batch,) -> timesteps in [0, num_train_timesteps - 1], float32 (batch,)."""
        share = ops.sigmoid(self.mean + self.std * normal_quantiles(quantiles))  # in (0, 1)
        total = noise_schedule.num_train_timesteps
        return ops.clip(share * total - 1.0, 0.0, total - 1.0)

    def get_config(self):
        return {"mean": self.mean, "std": self.std}
