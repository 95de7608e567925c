"""The U-Net: noisy latents, the time and the text in, a prediction out."""

import functools

import keras
from keras import ops

from latentdiff.models import dtypes
from latentdiff.models.layers import Downsample, GroupNorm, ResnetBlock, SpatialTransformer, Upsample
from latentdiff.models.network_inputs import network_inputs
from latentdiff.models.quantized import from_quantized_config, quantization_config
from latentdiff.models.time_and_text import embed_time


def per_level(value, widths, name):
    """`value` as a tuple of one entry a level; a single number is repeated."""
    values = (value,) * len(widths) if isinstance(value, int) else tuple(value)
    if len(values) != len(widths):
        raise ValueError(
            f"`{name}` must be one number or one for each of `widths`. Received: {name}={value}, {widths=}"
        )
    return values


def check_levels(latent_shape, widths, attention_levels):
    """Raises ValueError for levels that don't exist and for sides that can't be halved at each of them."""
    if any(level not in range(len(widths)) for level in attention_levels):
        raise ValueError(f"`attention_levels` must be indices of `widths`. Received: {attention_levels=}, {widths=}")
    if any(side is not None and side % 2 ** (len(widths) - 1) for side in latent_shape[:2]):
        raise ValueError(
            f"`latent_shape` must have sides divisible by {2 ** (len(widths) - 1)}, once halved at each level after "
            f"the first. Received: {latent_shape=}, {widths=}"
        )


def go_down(x, resnet, transformer, widths, num_blocks, attention_levels, dtype):
    """The falling half: its result, and all maps that the rising half will look back at."""
    skips = [x]
    for level, width in enumerate(widths):
        for block in range(num_blocks):
            x = resnet(x, level, f"down_{level}_{block}_resnet")
            if level in attention_levels:
                x = transformer(x, level, f"down_{level}_{block}_transformer")
            skips.append(x)
        if level < len(widths) - 1:
            x = Downsample(width, dtype=dtype, name=f"down_{level}_downsample")(x)
            skips.append(x)
    return x, skips


def go_up(x, skips, resnet, transformer, widths, num_blocks, attention_levels, dtype):
    """The rising half."""
    for level, width in reversed(list(enumerate(widths))):
        for block in range(num_blocks + 1):
            x = keras.layers.Concatenate(dtype=dtype, name=f"up_{level}_{block}_skip")([x, skips.pop()])
            x = resnet(x, level, f"up_{level}_{block}_resnet")
            if level in attention_levels:
                x = transformer(x, level, f"up_{level}_{block}_transformer")
        if level > 0:
            x = Upsample(width, dtype=dtype, name=f"up_{level}_upsample")(x)
    return x


@keras.saving.register_keras_serializable(package="latentdiff")
class UNet(keras.Model):
    """Residual blocks and attention at falling, then rising resolution, with skip connections between the two halves.

    With the right arguments it is the U-Net of Stable Diffusion 1.5, 2.1 or XL, operation by operation; no weights of
    theirs come with it.

    Args:
        latent_shape: (height, width, channels) of the latents; height and width may be None for any size that can be
            halved `len(widths) - 1` times.
        context_dim: width of the text features.
        num_tokens: length of the text features, or None for any.
        widths: channels at each level, the first at full resolution.
        num_blocks: residual blocks a level on the way down; one more on the way up.
        attention_levels: levels (indices into `widths`) that have a transformer after each residual block. The middle
            always has one.
        num_heads: heads of attention, one number or one a level.
        transformer_depth: transformer blocks in each transformer, one number or one a level; the middle has that of
            the last.
        linear_projection: see `SpatialTransformer`.
        activation: "gelu" (exact) or "gelu_tanh" (a builtin of LiteRT), gate of the feed-forward layers.
        expansion: inner width of the feed-forward layers over the outer.
        pool_context: add the mean of the text features to the time embedding (as Imagen does, arXiv:2205.11487).
        groups: groups of the normalizations.
        dropout: rate in the residual blocks.
        sees_mask: take `masked_latents`, as the U-Nets for inpainting do.
        pooled_dim: width of `pooled_context`, which joins the time embedding together with `image_sizes`, as in Stable
            Diffusion XL; None for neither.
        size_waves_dim: cosines and sines of each of the image sizes.

    Call arguments (a dict):
        noisy_latents: float (batch, height, width, channels).
        timesteps: float (batch,), in [0, num_train_timesteps).
        context: float (batch, tokens, context_dim).
        context_mask: bool (batch, tokens), False where a token is padding; it is then never looked at.
        masked_latents: with `sees_mask`, float (batch, height, width, 1 + channels), see `image_members`.
        pooled_context: with `pooled_dim`, float (batch, pooled_dim).
        image_sizes: with `pooled_dim`, float (batch, 6), see `image_members`.

    Returns:
        float32 (batch, height, width, channels), the prediction.

    Raises:
        ValueError: levels that don't exist, a latent side that can't be halved, heads that don't divide a width.

    Reference: Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022, arXiv:2112.10752.
    """

    def __init__(
        self,
        latent_shape=(None, None, 4),
        context_dim=768,
        num_tokens=None,
        widths=(320, 640, 1280, 1280),
        num_blocks=2,
        attention_levels=(0, 1, 2),
        num_heads=8,
        transformer_depth=1,
        linear_projection=False,
        activation="gelu",
        expansion=4,
        pool_context=False,
        groups=32,
        dropout=0.0,
        sees_mask=False,
        pooled_dim=None,
        size_waves_dim=256,
        dtype=None,
        name="unet",
        **kwargs,
    ):
        config = {
            "latent_shape": tuple(latent_shape),
            "context_dim": context_dim,
            "num_tokens": num_tokens,
            "widths": tuple(widths),
            "num_blocks": num_blocks,
            "attention_levels": tuple(attention_levels),
            "num_heads": per_level(num_heads, widths, "num_heads"),
            "transformer_depth": per_level(transformer_depth, widths, "transformer_depth"),
            "linear_projection": linear_projection,
            "activation": activation,
            "expansion": expansion,
            "pool_context": pool_context,
            "groups": groups,
            "dropout": dropout,
            "sees_mask": sees_mask,
            "pooled_dim": pooled_dim,
            "size_waves_dim": size_waves_dim,
        }
        check_levels(latent_shape, widths, attention_levels)
        inputs = network_inputs(latent_shape, context_dim, num_tokens, sees_mask, pooled_dim)
        prediction = self._graph(inputs, dtype=dtype, **config)
        super().__init__(inputs=inputs, outputs=prediction, name=name, **kwargs)
        self._config = {**config, **dtypes.given(dtype)}
        for name, value in config.items():
            setattr(self, name, value)
        self.dtype_policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())

    @staticmethod
    def _graph(inputs, widths, num_blocks, attention_levels, dtype, **config):
        """The prediction, from symbolic inputs."""
        groups = config["groups"]
        shape = {"num_blocks": num_blocks, "attention_levels": attention_levels, "widths": widths, "dtype": dtype}
        sizes = config["size_waves_dim"]
        time_embedding = embed_time(inputs, widths[0], 4 * widths[0], config["pool_context"], dtype, sizes)
        make_transformer = functools.partial(
            SpatialTransformer,
            groups=groups,
            linear_projection=config["linear_projection"],
            activation=config["activation"],
            expansion=config["expansion"],
            dtype=dtype,
        )

        def resnet(x, level, name):
            return ResnetBlock(widths[level], groups, 1e-5, config["dropout"], dtype=dtype, name=name)(
                x, time_embedding
            )

        def transformer(x, level, name):
            layer = make_transformer(config["num_heads"][level], config["transformer_depth"][level], name=name)
            return layer(x, inputs["context"], key_mask=inputs["context_mask"])

        conv = functools.partial(keras.layers.Conv2D, padding="same", data_format="channels_last", dtype=dtype)
        x = inputs["noisy_latents"]
        if config["sees_mask"]:
            x = keras.layers.Concatenate(dtype=dtype, name="with_masked_latents")([x, inputs["masked_latents"]])
        x = conv(widths[0], 3, name="conv_in")(x)
        x, skips = go_down(x, resnet, transformer, **shape)
        x = resnet(x, -1, "middle_resnet_in")
        x = transformer(x, -1, "middle_transformer")
        x = resnet(x, -1, "middle_resnet_out")
        x = go_up(x, skips, resnet, transformer, **shape)
        x = ops.silu(GroupNorm(groups, 1e-5, dtype=dtype, name="norm_out")(x))
        channels = config["latent_shape"][-1]
        out = conv(channels, 3, kernel_initializer="zeros", name="conv_out")
        return keras.layers.Activation("linear", dtype="float32", name="prediction")(out(x))

    def get_config(self):
        config = {**self._config, "name": self.name, "trainable": self.trainable}
        return {**config, **quantization_config(self)}

    @classmethod
    def from_config(cls, config):
        return from_quantized_config(cls, config)
