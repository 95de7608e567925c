"""The two networks of the autoencoder: images to moments, latents to images."""

import keras
from keras import ops

from latentdiff.models.layers import (
    AttentionBlock,
    Downsample,
    GroupNorm,
    Patchify,
    ResnetBlock,
    Unpatchify,
    Upsample,
)


def _middle(x, width, groups, attention, dtype):
    x = ResnetBlock(width, groups, 1e-6, dtype=dtype, name="middle_resnet_in")(x)
    if attention:
        x = AttentionBlock(1, groups, 1e-6, dtype=dtype, name="middle_attention")(x)
    return ResnetBlock(width, groups, 1e-6, dtype=dtype, name="middle_resnet_out")(x)


def build_encoder(latent_channels, widths, num_blocks, patch_size, attention, groups, dtype):
    """images (batch, height, width, 3) -> moments (batch, h, w, 2 latent_channels): means, then log variances."""
    images = keras.Input((None, None, 3), name="images", dtype="float32")
    x = Patchify(patch_size, dtype=dtype, name="patchify")(images) if patch_size > 1 else images
    x = keras.layers.Conv2D(widths[0], 3, padding="same", data_format="channels_last", dtype=dtype, name="conv_in")(x)
    for level, width in enumerate(widths):
        for block in range(num_blocks):
            x = ResnetBlock(width, groups, 1e-6, dtype=dtype, name=f"down_{level}_{block}")(x)
        if level < len(widths) - 1:
            x = Downsample(width, padding="end", dtype=dtype, name=f"down_{level}_downsample")(x)
    x = _middle(x, widths[-1], groups, attention, dtype)
    x = ops.silu(GroupNorm(groups, 1e-6, dtype=dtype, name="norm_out")(x))
    x = keras.layers.Conv2D(
        2 * latent_channels, 3, padding="same", data_format="channels_last", dtype=dtype, name="conv_out"
    )(x)
    moments = keras.layers.Conv2D(2 * latent_channels, 1, data_format="channels_last", dtype="float32", name="moments")(
        x
    )
    return keras.Model(images, moments, name="encoder")


def build_decoder(latent_channels, widths, num_blocks, patch_size, attention, groups, dtype):
    """latents (batch, h, w, latent_channels), not normalized -> images (batch, height, width, 3)."""
    latents = keras.Input((None, None, latent_channels), name="latents", dtype="float32")
    x = keras.layers.Conv2D(latent_channels, 1, data_format="channels_last", dtype=dtype, name="latents_in")(latents)
    x = keras.layers.Conv2D(widths[-1], 3, padding="same", data_format="channels_last", dtype=dtype, name="conv_in")(x)
    x = _middle(x, widths[-1], groups, attention, dtype)
    for level, width in reversed(list(enumerate(widths))):
        for block in range(num_blocks + 1):
            x = ResnetBlock(width, groups, 1e-6, dtype=dtype, name=f"up_{level}_{block}")(x)
        if level > 0:
            x = Upsample(width, dtype=dtype, name=f"up_{level}_upsample")(x)
    x = ops.silu(GroupNorm(groups, 1e-6, dtype=dtype, name="norm_out")(x))
    x = keras.layers.Conv2D(
        3 * patch_size**2, 3, padding="same", data_format="channels_last", dtype=dtype, name="conv_out"
    )(x)
    images = Unpatchify(patch_size, dtype=dtype, name="unpatchify")(x) if patch_size > 1 else x
    images = keras.layers.Activation("linear", dtype="float32", name="images")(images)
    return keras.Model(latents, images, name="decoder")
