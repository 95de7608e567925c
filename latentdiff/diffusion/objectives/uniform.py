"""Uniform timesteps."""

from keras import ops


class Uniform:
    """Every whole timestep is as likely as any other.

    Reference: Ho et al., Denoising Diffusion Probabilistic Models, 2020, arXiv:2006.11239, Algorithm 1.
    """

    def timesteps(self, quantiles, noise_schedule):
        """Quantiles in [0, 1), float32 (batch,) -> timesteps in [0, num_train_timesteps - 1], float32 (batch,)."""
        timesteps = ops.floor(quantiles * noise_schedule.num_train_timesteps)
        return ops.minimum(timesteps, noise_schedule.num_train_timesteps - 1.0)

    def get_config(self):
        return {}
