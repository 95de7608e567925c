"""Min-SNR weights."""


class MinSNR:
    """The squared error of the implied clean latents counts min(SNR, gamma).

    Args:
        gamma: above 0.

    Raises:
        ValueError: `gamma` not above 0.

    Reference: Hang et al., Efficient Diffusion Training via Min-SNR Weighting Strategy, 2023, arXiv:2303.09556.
    """

    def __init__(self, gamma=5.0):
        if not gamma > 0.0:
            raise ValueError(f"`gamma` must be above 0. Received: gamma={gamma}")
        self.gamma = gamma

    def weights(self, timesteps, noise_schedule, prediction_type):
        """Timesteps (batch,) -> weights of the squared error of the prediction, float32 (batch,)."""
        return noise_schedule.loss_weights(timesteps, prediction_type, self.gamma)

    def get_config(self):
        return {"gamma": self.gamma}
