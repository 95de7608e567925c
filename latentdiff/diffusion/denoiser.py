"""The denoiser: what a sampler sees of a trained model."""

from keras import ops


class Denoiser:
    """A function from noisy latents and timesteps to the clean latents and the noise that the network sees in them.

    Args:
        network: a function from a dict of `noisy_latents`, `timesteps` and the members of the conditioning to a
            prediction.
        noise_schedule: the `NoiseSchedule` that the network was trained with.
        prediction_type: what the network was trained to predict.
        conditioning: dict of named tensors with the batch in front, see `conditioning`.

    Call arguments:
        noisy_latents: float (batch, h, w, channels).
        timesteps: float (batch,).

    Returns:
        pred_latents, pred_noise: float32, shaped like `noisy_latents`.
    """

    def __init__(self, network, noise_schedule, prediction_type, conditioning):
        self.network = network
        self.noise_schedule = noise_schedule
        self.prediction_type = prediction_type
        self.conditioning = conditioning

    def __call__(self, noisy_latents, timesteps):
        # Multi-step samplers may ask at the clean end of time, which the network has never seen.
        timesteps_seen = ops.maximum(timesteps, 0.0)
        inputs = {"noisy_latents": noisy_latents, "timesteps": timesteps_seen, **self.conditioning}
        prediction = ops.cast(self.network(inputs), "float32")
        return self.noise_schedule.split(prediction, noisy_latents, timesteps, self.prediction_type)


class Mixture:
    """A denoiser for mixtures: the mean of the predictions for several prompts of each image.

    Args:
        denoiser: a denoiser for a batch of `parts` times the size, the first prompts of all images in front.
        shares: float32 (batch,) for each of the parts, how much it counts; those of an image sum to 1.

    Call arguments and result: those of a denoiser for the plain batch.

    Reference: Liu et al., Compositional Visual Generation with Composable Diffusion Models, 2022, arXiv:2206.01714;
    here the weights sum to 1.
    """

    def __init__(self, denoiser, shares):
        self.denoiser = denoiser
        self.shares = shares
        self.noise_schedule = denoiser.noise_schedule

    def __call__(self, noisy_latents, timesteps):
        parts = len(self.shares)
        answers = self.denoiser(ops.concatenate([noisy_latents] * parts), ops.concatenate([timesteps] * parts))
        shares = ops.reshape(ops.concatenate(self.shares), (-1, 1, 1, 1))  # (parts * batch, 1, 1, 1)
        return tuple(sum(ops.split(shares * answer, parts)) for answer in answers)


class KnownRegion:
    """A denoiser that knows part of the answer: in the known region it gives the latents that are there, whatever it
    is asked, and so every sampler ends at them. What it says of the rest has seen them.

    Args:
        denoiser: the denoiser for the rest.
        noise_schedule: its `NoiseSchedule`.
        known_latents: float32 (batch, h, w, channels).
        repaint: bool (batch, h, w, 1), False in the known region.

    Call arguments and result: those of a denoiser.

    Reference: the known region follows Lugmayr et al., RePaint, 2022, arXiv:2201.09865, equation 8; here the noise
    on it is that of the sampler.
    """

    def __init__(self, denoiser, noise_schedule, known_latents, repaint):
        self.denoiser = denoiser
        self.noise_schedule = noise_schedule
        self.known_latents = known_latents
        self.repaint = repaint

    def __call__(self, noisy_latents, timesteps):
        pred_latents, pred_noise = self.denoiser(noisy_latents, timesteps)
        timesteps = ops.maximum(timesteps, 0.0)  # at the clean end nothing can be said of the noise
        _, known_noise = self.noise_schedule.split(self.known_latents, noisy_latents, timesteps, "latents")
        return (
            ops.where(self.repaint, pred_latents, self.known_latents),
            ops.where(self.repaint, pred_noise, known_noise),
        )
