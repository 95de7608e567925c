"""The diffusion transformer: noisy latents, the time and the text in, a prediction out."""

import keras
from keras import ops

from latentdiff.models import dtypes
from latentdiff.models.layers import AdaptiveBlock, AdaptiveOutput, PositionEmbedding, Unpatchify
from latentdiff.models.network_inputs import network_inputs
from latentdiff.models.quantized import from_quantized_config, quantization_config
from latentdiff.models.time_and_text import embed_time

WAVES_DIM = 256


@keras.saving.register_keras_serializable(package="latentdiff")
class DiT(keras.Model):
    """A stack of equal transformer blocks over the patches of the latents.

    The text enters twice: every block attends to its tokens, and the mean of their features joins the time, which
    shifts, scales and gates each block.

    Args:
        latent_shape: (height, width, channels) of the latents; height and width may be None for any size that the
            patches divide.
        context_dim: width of the text features.
        num_tokens: length of the text features, or None for any.
        width: channels of the blocks, divisible by 4 and by `num_heads`.
        depth: number of blocks.
        num_heads: heads of attention.
        patch_size: side of a patch; its latents become one place of the transformer.
        expansion: inner width of the feed-forward layers over the outer.
        pool_context: add the mean of the text features to the time embedding.

    Call arguments (a dict):
        noisy_latents: float (batch, height, width, channels).
        timesteps: float (batch,), in [0, num_train_timesteps).
        context: float (batch, tokens, context_dim).
        context_mask: bool (batch, tokens), False where a token is padding; it is then never looked at.

    Returns:
        float32 (batch, height, width, channels), the prediction.

    Raises:
        ValueError: a latent side that the patches don't divide, or a `width` that the heads or 4 don't divide.

    Reference: Peebles and Xie, Scalable Diffusion Models with Transformers, 2022, arXiv:2212.09748; Chen et al.,
    PixArt-alpha: Fast Training of Diffusion Transformer for Photorealistic Text-to-Image Synthesis, 2023,
    arXiv:2310.00426.
    """

    def __init__(
        self,
        latent_shape=(None, None, 4),
        context_dim=768,
        num_tokens=None,
        width=1152,
        depth=28,
        num_heads=16,
        patch_size=2,
        expansion=4,
        pool_context=True,
        dtype=None,
        name="dit",
        **kwargs,
    ):
        config = {
            "latent_shape": tuple(latent_shape),
            "context_dim": context_dim,
            "num_tokens": num_tokens,
            "width": width,
            "depth": depth,
            "num_heads": num_heads,
            "patch_size": patch_size,
            "expansion": expansion,
            "pool_context": pool_context,
        }
        _check(latent_shape, width, num_heads, patch_size)
        inputs = network_inputs(latent_shape, context_dim, num_tokens)
        super().__init__(inputs=inputs, outputs=self._graph(inputs, dtype=dtype, **config), name=name, **kwargs)
        self._config = {**config, **dtypes.given(dtype)}
        for name, value in config.items():
            setattr(self, name, value)
        self.dtype_policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())

    @staticmethod
    def _graph(inputs, latent_shape, width, depth, num_heads, patch_size, expansion, pool_context, dtype, **_):
        """The prediction, from symbolic inputs."""
        embedding = embed_time(inputs, WAVES_DIM, width, pool_context, dtype)  # (b, width)
        modulation = keras.layers.Dense(
            6 * width, kernel_initializer=keras.initializers.RandomNormal(stddev=0.02), dtype=dtype, name="modulation"
        )(ops.silu(embedding))  # (b, 6 width)
        patches = keras.layers.Conv2D(
            width, patch_size, strides=patch_size, data_format="channels_last", dtype=dtype, name="patch_in"
        )
        x = patches(inputs["noisy_latents"])  # (b, h / patch_size, w / patch_size, width)
        x = PositionEmbedding(dtype=dtype, name="position_embedding")(x)
        for index in range(depth):
            block = AdaptiveBlock(num_heads, expansion, dtype=dtype, name=f"block_{index}")
            x = block(x, modulation, inputs["context"], key_mask=inputs["context_mask"])
        out = AdaptiveOutput(patch_size**2 * latent_shape[-1], dtype=dtype, name="out")
        x = Unpatchify(patch_size, dtype=dtype, name="unpatchify")(out(x, embedding))  # (b, h, w, channels)
        return keras.layers.Activation("linear", dtype="float32", name="prediction")(x)

    def get_config(self):
        config = {**self._config, "name": self.name, "trainable": self.trainable}
        return {**config, **quantization_config(self)}

    @classmethod
    def from_config(cls, config):
        return from_quantized_config(cls, config)


def _check(latent_shape, width, num_heads, patch_size):
    if any(side is not None and side % patch_size for side in latent_shape[:2]):
        raise ValueError(
            f"`latent_shape` must have sides divisible by `patch_size`. Received: {latent_shape=}, {patch_size=}"
        )
    if width % 4 or width % num_heads:
        raise ValueError(f"`width` must be divisible by 4 and by `num_heads`. Received: {width=}, {num_heads=}")
