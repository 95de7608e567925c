"""The denoiser: what a sampler sees of a trained model."""

from keras import ops


class Denoiser:
    """A function from noisy latents and timesteps to the clean latents and the noise that the U-Net sees in them.

    Args:
        unet: a model from `noisy_latents`, `timesteps`, `context`, `context_mask` to a prediction.
        noise_schedule: the `NoiseSchedule` that the U-Net was trained with.
        prediction_type: what the U-Net was trained to predict.
        context, context_mask: float (batch, tokens, dim) and bool (batch, tokens).

    Call arguments:
        noisy_latents: float (batch, h, w, channels).
        timesteps: float (batch,).

    Returns:
        pred_latents, pred_noise: float32, shaped like `noisy_latents`.
    """

    def __init__(self, unet, noise_schedule, prediction_type, context, context_mask):
        self.unet = unet
        self.noise_schedule = noise_schedule
        self.prediction_type = prediction_type
        self.context = context
        self.context_mask = context_mask

    def __call__(self, noisy_latents, timesteps):
        # Multi-step samplers may ask at the clean end of time, which the U-Net has never seen.
        prediction = self.unet(
            {
                "noisy_latents": noisy_latents,
                "timesteps": ops.maximum(timesteps, 0.0),
                "context": self.context,
                "context_mask": self.context_mask,
            }
        )
        return self.noise_schedule.split(prediction, noisy_latents, timesteps, self.prediction_type)
