"""The U-Net: noisy latents, the time and the text in, a prediction out."""

import keras
from keras import ops

from latentdiff.layers import Downsample, GroupNorm, ResnetBlock, SpatialTransformer, TimestepEmbedding, Upsample


def per_level(value, widths, name):
    """`value` as a tuple of one entry a level; a single number is repeated."""
    values = (value,) * len(widths) if isinstance(value, int) else tuple(value)
    if len(values) != len(widths):
        raise ValueError(f"`{name}` must be one number or one for each of `widths`. Received: {name}={value}, {widths=}")
    return values


@keras.saving.register_keras_serializable(package="latentdiff")
class UNet(keras.Model):
    """Residual blocks and attention at falling, then rising resolution, with skip connections between the two halves.

    With the right arguments it is the U-Net of Stable Diffusion 1.5 or 2.1, operation by operation (see `presets`).

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
        transformer_depth: transformer blocks in each transformer.
        linear_projection: see `SpatialTransformer`.
        activation: "gelu" (exact) or "gelu_tanh" (a builtin of LiteRT), gate of the feed-forward layers.
        expansion: inner width of the feed-forward layers over the outer.
        pool_context: add the mean of the text features to the time embedding (as Imagen does, arXiv:2205.11487).
        groups: groups of the normalizations.
        dropout: rate in the residual blocks.

    Call arguments (a dict):
        noisy_latents: float (batch, height, width, channels).
        timesteps: float (batch,), in [0, num_train_timesteps).
        context: float (batch, tokens, context_dim).
        context_mask: bool (batch, tokens), False where a token is padding; it is then never looked at.

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
        dtype=None,
        name="unet",
        **kwargs,
    ):
        heads = per_level(num_heads, widths, "num_heads")
        if any(level not in range(len(widths)) for level in attention_levels):
            raise ValueError(f"`attention_levels` must be indices of `widths`. Received: {attention_levels=}, {widths=}")
        if any(side is not None and side % 2 ** (len(widths) - 1) for side in latent_shape[:2]):
            raise ValueError(
                f"`latent_shape` must have sides divisible by {2 ** (len(widths) - 1)}, once halved at each level after "
                f"the first. Received: {latent_shape=}, {widths=}"
            )

        def resnet_block(x, width, name):
            return ResnetBlock(width, groups, 1e-5, dropout, dtype=dtype, name=name)(x, time_embedding)

        def transformer(x, level, name):
            layer = SpatialTransformer(
                heads[level],
                transformer_depth,
                groups,
                linear_projection,
                activation,
                expansion,
                dtype=dtype,
                name=name,
            )
            return layer(x, context, context_mask=context_mask)

        # === Inputs ===
        noisy_latents = keras.Input(latent_shape, name="noisy_latents")
        timesteps = keras.Input((), name="timesteps")
        context = keras.Input((num_tokens, context_dim), name="context")
        context_mask = keras.Input((num_tokens,), dtype="bool", name="context_mask")

        # === Time (and the gist of the text) ===
        time_embedding = TimestepEmbedding(widths[0], 4 * widths[0], dtype=dtype, name="time_embedding")(timesteps)
        if pool_context:
            pooled = keras.layers.GlobalAveragePooling1D(dtype=dtype, name="pool")(context, mask=context_mask)
            pooled = keras.layers.LayerNormalization(dtype=dtype, name="pool_norm")(pooled)
            time_embedding = time_embedding + keras.layers.Dense(4 * widths[0], dtype=dtype, name="pool_dense")(pooled)

        # === Down ===
        x = keras.layers.Conv2D(widths[0], 3, padding="same", dtype=dtype, name="conv_in")(noisy_latents)
        skips = [x]
        for level, width in enumerate(widths):
            for block in range(num_blocks):
                x = resnet_block(x, width, f"down_{level}_{block}_resnet")
                if level in attention_levels:
                    x = transformer(x, level, f"down_{level}_{block}_transformer")
                skips.append(x)
            if level < len(widths) - 1:
                x = Downsample(width, dtype=dtype, name=f"down_{level}_downsample")(x)
                skips.append(x)

        # === Middle ===
        x = resnet_block(x, widths[-1], "middle_resnet_in")
        x = transformer(x, len(widths) - 1, "middle_transformer")
        x = resnet_block(x, widths[-1], "middle_resnet_out")

        # === Up ===
        for level, width in reversed(list(enumerate(widths))):
            for block in range(num_blocks + 1):
                x = keras.layers.Concatenate(dtype=dtype, name=f"up_{level}_{block}_skip")([x, skips.pop()])
                x = resnet_block(x, width, f"up_{level}_{block}_resnet")
                if level in attention_levels:
                    x = transformer(x, level, f"up_{level}_{block}_transformer")
            if level > 0:
                x = Upsample(width, dtype=dtype, name=f"up_{level}_upsample")(x)

        # === Out ===
        x = ops.silu(GroupNorm(groups, 1e-5, dtype=dtype, name="norm_out")(x))
        out = keras.layers.Conv2D(
            latent_shape[-1], 3, padding="same", kernel_initializer="zeros", dtype=dtype, name="conv_out"
        )
        prediction = keras.layers.Activation("linear", dtype="float32", name="prediction")(out(x))

        # === Functional Model ===
        inputs = {
            "noisy_latents": noisy_latents,
            "timesteps": timesteps,
            "context": context,
            "context_mask": context_mask,
        }
        super().__init__(inputs=inputs, outputs=prediction, name=name, **kwargs)

        # === Config ===
        self.latent_shape = tuple(latent_shape)
        self.context_dim = context_dim
        self.num_tokens = num_tokens
        self.widths = tuple(widths)
        self.num_blocks = num_blocks
        self.attention_levels = tuple(attention_levels)
        self.num_heads = heads
        self.transformer_depth = transformer_depth
        self.linear_projection = linear_projection
        self.activation = activation
        self.expansion = expansion
        self.pool_context = pool_context
        self.groups = groups
        self.dropout = dropout
        self.dtype_policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())

    def get_config(self):
        return {
            "latent_shape": self.latent_shape,
            "context_dim": self.context_dim,
            "num_tokens": self.num_tokens,
            "widths": self.widths,
            "num_blocks": self.num_blocks,
            "attention_levels": self.attention_levels,
            "num_heads": self.num_heads,
            "transformer_depth": self.transformer_depth,
            "linear_projection": self.linear_projection,
            "activation": self.activation,
            "expansion": self.expansion,
            "pool_context": self.pool_context,
            "groups": self.groups,
            "dropout": self.dropout,
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)
