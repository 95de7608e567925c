"""No weights."""


class Unweighted:
    """The squared error of the prediction counts the same at every timestep.

    Reference: Ho et al., Denoising Diffusion Probabilistic Models, 2020, arXiv:2006.11239, equation 14.
    """

    def weights(self, timesteps, noise_schedule, prediction_type):
        """Timesteps (batch,) -> weights of the squared error of the prediction, float32 (batch,)."""
        return noise_schedule.loss_weights(timesteps, prediction_type)

    def get_config(self):
        return {}
