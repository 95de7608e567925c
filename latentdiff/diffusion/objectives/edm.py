"""The weights of EDM."""


class EDM:
    """The squared error of the implied clean latents counts (sigma^2 + sigma_data^2) / (sigma sigma_data)^2: a fresh
    network then has the same loss at every noise level.

    Args:
        sigma_data: standard deviation of the data, above 0; that of latents is 1.

    Raises:
        ValueError: `sigma_data` not above 0.

    Reference: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022,
    arXiv:2206.00364, table 1.
    """

    def __init__(self, sigma_data=1.0):
        if not sigma_data > 0.0:
            raise ValueError(f"`sigma_data` must be above 0. Received: sigma_data={sigma_data}")
        self.sigma_data = sigma_data

    def weights(self, timesteps, noise_schedule, prediction_type):
        """Timesteps (batch,) -> weights of the squared error of the prediction, float32 (batch,)."""
        # With SNR = 1 / sigma^2 the weight is SNR + 1 / sigma_data^2.
        weights = noise_schedule.snr(timesteps) + 1.0 / self.sigma_data**2
        return noise_schedule.prediction_weights(weights, timesteps, prediction_type)

    def get_config(self):
        return {"sigma_data": self.sigma_data}
