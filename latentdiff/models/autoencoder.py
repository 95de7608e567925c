"""The autoencoder: images to latents and back."""

import functools
import warnings

import keras
import numpy as np
from keras import ops

from latentdiff.models import dtypes, pixels, replicas
from latentdiff.models.compilation import compile_function
from latentdiff.models.encoder_and_decoder import build_decoder, build_encoder
from latentdiff.models.image_batches import check_pixels, image_batches
from latentdiff.models.losses.adversarial import Adversary
from latentdiff.models.quantized import from_quantized_config, quantization_config
from latentdiff.models.trainable_model import TrainableModel, refuse_weights

PERCEPTUAL_WEIGHT = 0.5  # unless another one is asked for


@keras.saving.register_keras_serializable(package="latentdiff")
class Autoencoder(TrainableModel):
    """A variational autoencoder that compresses images to latents `downsampling` times smaller in each direction.

    Train it with `compile()` and `fit(images)`, then call `measure_latents(images)` once: from then on `encode` gives
    latents of mean 0 and standard deviation 1 in each channel, and `decode` takes them.

    Args:
        latent_channels: channels of the latents.
        widths: channels of each level, from the finest on; each level after the first halves height and width.
        num_blocks: residual blocks per level of the encoder; the decoder has one more.
        patch_size: side of the square of pixels that one position of the finest level covers. 1 as in Stable Diffusion;
            2 costs a quarter there. The downsampling is `patch_size * 2 ** (len(widths) - 1)`.
        middle_attention: self attention at the coarsest level.
        groups: groups of the normalizations.
        pixel_weight, kl_weight, perceptual_weight, adversarial_weight: weights of the losses (`compile` says more);
            0 switches one off. `perceptual_weight` None is 0.5 where `compile` gets a perceptual loss. Each loss is a
            mean: over pixels, over latent numbers, over images, over patches.
        latent_noise: noise on the latents in training, so that the decoder tolerates small errors of a denoiser
            (Zheng et al., 2025, arXiv:2510.11690). Its standard deviation is uniform in [0, latent_noise] for each
            image, in units of the deviation of each channel in the batch.
        seed: of the posterior samples and the noise drawn while training.

    Call arguments:
        images: uint8 [0, 255] or float [-1, 1], (batch, height, width, 3), sides divisible by `downsampling`; or a dict
            with them under "images".

    Returns:
        float32 (batch, height, width, 3): the reconstructions, in training from a sample of the posterior, otherwise
        from its mean.

    Raises:
        ValueError: image sides that `downsampling` does not divide.

    Reference: Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022, arXiv:2112.10752;
    Kingma and Welling, Auto-Encoding Variational Bayes, 2013, arXiv:1312.6114.
    """

    def __init__(
        self,
        latent_channels=4,
        widths=(128, 256, 512, 512),
        num_blocks=2,
        patch_size=1,
        middle_attention=True,
        groups=32,
        pixel_weight=1.0,
        kl_weight=1e-3,
        perceptual_weight=None,
        adversarial_weight=0.0,
        latent_noise=0.0,
        seed=0,
        trainable=True,
        dtype=None,
        name="autoencoder",
        **kwargs,
    ):
        super().__init__(name=name, dtype=dtype, **kwargs)
        self.latent_channels = latent_channels
        self.widths = tuple(widths)
        self.num_blocks = num_blocks
        self.patch_size = patch_size
        self.middle_attention = middle_attention
        self.groups = groups
        self.pixel_weight, self.kl_weight = pixel_weight, kl_weight
        self.perceptual_weight, self.adversarial_weight = perceptual_weight, adversarial_weight
        self.latent_noise = latent_noise
        self.seed = seed
        self._given_dtype = dtypes.given(dtype)
        shape = (latent_channels, self.widths, num_blocks, patch_size, middle_attention, groups, self.dtype_policy)
        self.encoder = build_encoder(*shape)
        self.decoder = build_decoder(*shape)
        self.latent_mean = self._add_statistic("latent_mean", "zeros")
        self.latent_std = self._add_statistic("latent_std", "ones")
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.perceptual_loss = self.adversary = None
        self.trainable = trainable  # set last, so that it reaches the parts
        self.built = True

    def _add_statistic(self, name, initializer):
        """One number for each channel of the latents."""
        shape = (self.latent_channels,)
        return self.add_weight(name=name, shape=shape, initializer=initializer, trainable=False, dtype="float32")

    @property
    def downsampling(self):
        """Pixels per latent position, in each direction."""
        return self.patch_size * 2 ** (len(self.widths) - 1)

    def compile(
        self, optimizer=None, perceptual_loss=None, discriminator=None, adversarial_start=0, metrics=None, **kwargs
    ):
        """Prepares training. Without arguments: AdamW with a moving average of the weights, pixel and KL losses.

        Args:
            optimizer: a Keras optimizer; default `keras.optimizers.AdamW(2e-4, ..., use_ema=True)`.
            perceptual_loss: callable (images, made) -> (batch,) or scalar, for instance `losses.LPIPS(path)` or
                `losses.PerceptualLoss(model)`. It is never saved with the autoencoder.
            discriminator: a keras.Model, images -> logits, for instance `losses.PatchDiscriminator()`; it is trained
                alongside by the same optimizer as soon as `adversarial_weight` is above 0.
            adversarial_start: training step from which the decoder gets the gradient of the discriminator; the
                discriminator is trained from the beginning.
            metrics, kwargs: as in `keras.Model.compile`.
        """
        if self.adversarial_weight and discriminator is None:
            raise ValueError(
                "`discriminator` must be a model while `adversarial_weight` is above 0. Received: discriminator=None, "
                f"adversarial_weight={self.adversarial_weight}"
            )
        if self.perceptual_weight and perceptual_loss is None:
            told = f"`perceptual_weight` {self.perceptual_weight} has no effect: `compile` got no `perceptual_loss`"
            warnings.warn(told, stacklevel=2)
        self._perceptual_weight = PERCEPTUAL_WEIGHT if self.perceptual_weight is None else self.perceptual_weight
        # A partial is no layer, so Keras neither tracks nor saves the network of the perceptual loss.
        self.perceptual_loss = perceptual_loss and functools.partial(perceptual_loss)
        self.adversary = None
        if self.adversarial_weight:
            self.adversary = Adversary(discriminator, self.adversarial_weight, adversarial_start, name="adversary")
        used = {
            "pixel": self.pixel_weight,
            "kl": self.kl_weight,
            "perceptual": perceptual_loss is not None and self._perceptual_weight,
            "generator": self.adversarial_weight,
            "discriminator": self.adversarial_weight,
        }
        self.trackers = {name: keras.metrics.Mean(name=name) for name, weight in used.items() if weight}
        super().compile(optimizer=optimizer, metrics=metrics, **kwargs)

    def get_compile_config(self):
        config = super().get_compile_config()
        if self.adversary is not None:
            own = {"discriminator": self.adversary.discriminator, "adversarial_start": self.adversary.start}
            config |= keras.saving.serialize_keras_object(own)
        return config and {**config, "has_perceptual_loss": self.perceptual_loss is not None}

    def compile_from_config(self, config):
        config = dict(config)
        if config.pop("has_perceptual_loss", False) and not self.perceptual_weight:  # else `compile` says so
            told = "The autoencoder had a perceptual loss, which no file holds: `compile` it with one to train on"
            warnings.warn(told, stacklevel=2)
        super().compile_from_config(config)

    def call(self, images, training=False):
        images = self._checked(images)
        mean, log_variance = self.moments(images)
        latents = mean
        if training:
            draws = replicas.draw(keras.random.normal, ops.shape(mean), self.seed_generator)
            latents = mean + ops.exp(0.5 * log_variance) * draws
            if self.latent_noise:
                latents = latents + self._noise_like(mean)
        kl = 0.5 * ops.mean(ops.square(mean) + ops.exp(log_variance) - 1.0 - log_variance)
        if self.kl_weight:
            self.add_loss(self.kl_weight * kl)
        return self.decoder(latents, training=training)  # (b, h, w, 3)

    def prepare(self, data):
        """Images in a list become one array; float images are checked to be in [-1, 1]."""
        if isinstance(data, dict) and "images" in data:
            return {**data, "images": self.prepare(data["images"])}
        return check_pixels(data)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        refuse_weights(sample_weight)
        images, made = self._checked(x), y_pred
        losses = {}
        if self.adversary is not None:
            made, for_adversary = self.adversary.split(made, training)
        if self.pixel_weight:
            losses["pixel"] = self.pixel_weight * ops.mean(ops.abs(images - made))
        if self.perceptual_loss is not None and self._perceptual_weight:
            losses["perceptual"] = self._perceptual_weight * ops.mean(self.perceptual_loss(images, made))
        if self.losses:
            losses["kl"] = sum(self.losses)
        if self.adversary is not None:
            losses["generator"], losses["discriminator"] = self.adversary.losses_of(images, for_adversary)
        for name, value in losses.items():
            self.trackers[name].update_state(value)
        return replicas.share(sum(losses.values()))

    def encode(self, images, sample=False, seed=None):
        """Latents of images, normalized by the measured mean and standard deviation.

        Args:
            images: uint8 [0, 255] or float [-1, 1], (batch, height, width, 3).
            sample: take a sample of the posterior instead of its mean.
            seed: int or keras.random.SeedGenerator of the sample.

        Returns:
            float32 (batch, height / downsampling, width / downsampling, latent_channels).
        """
        latents, log_variance = self.moments(images)
        if sample:
            draws = replicas.draw(keras.random.normal, ops.shape(latents), seed)
            latents = latents + ops.exp(0.5 * log_variance) * draws
        return (latents - self.latent_mean) / self.latent_std

    def decode(self, latents):
        """Images of normalized latents: float32 (batch, h, w, latent_channels) -> float32 (batch, height, width, 3).

        The images are about in [-1, 1] and not clipped; `pixels.to_uint8` clips them.
        """
        return self.decoder(latents * self.latent_std + self.latent_mean)

    def measure_latents(self, images, batch_size=64):
        """Measures mean and standard deviation of each latent channel over `images` and keeps them as weights.

        Args:
            images: what `fit` takes: uint8 or float images (n, height, width, 3), n >= 1, in an array or a list, a
                dict with them under "images", or a dataset of batches of those.
            batch_size: images encoded at a time, where they come in no batches.
        """
        moments = compile_function(lambda batch: self.moments(batch)[0], self)
        totals = np.zeros((2, self.latent_channels))
        count = 0
        for batch in image_batches(images, batch_size):
            mean = moments(batch)
            latents = ops.convert_to_numpy(mean).astype("float64").reshape(-1, self.latent_channels)
            totals += latents.sum(axis=0), np.square(latents).sum(axis=0)
            count += len(latents)
        if not count:
            raise ValueError("`images` must hold at least one image. Received: none")
        mean, square = totals / count
        self.latent_mean.assign(mean.astype("float32"))
        # A constant channel has a deviation of 0 or of rounding errors: too small to divide by.
        self.latent_std.assign(np.sqrt(np.maximum(square - mean**2, 1e-8)).astype("float32"))

    def export(self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs):
        """As `keras.Model.export`; by default for float images of any size and batch."""
        input_signature = input_signature or [keras.InputSpec("float32", (None, None, None, 3))]
        return super().export(filepath, format, verbose, input_signature, **kwargs)

    def _noise_like(self, latents):
        """Noise of a random strength per image; it scales with the latents, so that larger ones do not help."""
        shape = ops.shape(latents)
        strength = self.latent_noise * replicas.draw(keras.random.uniform, (shape[0], 1, 1, 1), self.seed_generator)
        deviation = ops.sqrt(ops.var(latents, axis=(0, 1, 2)) + 1e-8)  # (c,); has a gradient at 0 too
        return strength * deviation * replicas.draw(keras.random.normal, shape, self.seed_generator)

    def moments(self, images):
        """Mean and log variance of the posterior of images, see `encode`; not normalized."""
        mean, log_variance = ops.split(self.encoder(self._checked(images)), 2, axis=-1)  # (b, h, w, c) each
        return mean, ops.clip(log_variance, -30.0, 20.0)

    def _checked(self, images):
        images = images["images"] if isinstance(images, dict) else images
        height, width = images.shape[1:3]
        if any(side is not None and side % self.downsampling for side in (height, width)):
            raise ValueError(
                f"`images` must have sides divisible by {self.downsampling}. Received: images.shape={images.shape}"
            )
        return pixels.to_float(images)

    def get_config(self):
        return {
            "latent_channels": self.latent_channels,
            "widths": self.widths,
            "num_blocks": self.num_blocks,
            "patch_size": self.patch_size,
            "middle_attention": self.middle_attention,
            "groups": self.groups,
            "pixel_weight": self.pixel_weight,
            "kl_weight": self.kl_weight,
            "perceptual_weight": self.perceptual_weight,
            "adversarial_weight": self.adversarial_weight,
            "latent_noise": self.latent_noise,
            "seed": self.seed,
            "name": self.name,
            "trainable": self.trainable,
            **self._given_dtype,
            **quantization_config(self),
        }

    @classmethod
    def from_config(cls, config):
        return from_quantized_config(cls, config)
