"""What the baselines have in common, a VAE and a GAN on the latents of diffusion: networks and their condition."""

import keras
import numpy as np
from keras import ops

from latentdiff.models.layers import Downsample, ResnetBlock, Upsample

CODE_DIM = 128
BATCH_SIZE = 64


def build_generator(latent_shape, code_dim, features_dim, width, groups=16):
    """(codes (batch, code_dim), features (batch, features_dim)) -> latents (batch, *latent_shape).

    The sides of `latent_shape` must be multiples of 4, at least 8.
    """
    height, width_in_latents, channels = latent_shape
    codes = keras.Input((code_dim,), name="codes")
    features = keras.Input((features_dim,), name="features")
    x = ops.concatenate([codes, keras.layers.Dense(code_dim, "silu", name="features_in")(features)], axis=-1)
    x = keras.layers.Dense(height // 4 * width_in_latents // 4 * width, name="spread")(x)
    x = ops.reshape(x, (-1, height // 4, width_in_latents // 4, width))
    for level in range(2):
        x = ResnetBlock(width, groups, 1e-6, name=f"resnet_{level}")(x)
        x = Upsample(width, name=f"upsample_{level}")(x)
    x = ops.silu(ResnetBlock(width, groups, 1e-6, name="resnet_out")(x))
    latents = keras.layers.Conv2D(channels, 3, padding="same", dtype="float32", name="latents")(x)
    return keras.Model([codes, features], latents, name="generator")


def build_reader(latent_shape, features_dim, width, outputs, groups=16):
    """(latents (batch, *latent_shape), features (batch, features_dim)) -> (batch, outputs)."""
    latents = keras.Input(latent_shape, name="latents")
    features = keras.Input((features_dim,), name="features")
    x = keras.layers.Conv2D(width, 3, padding="same", name="conv_in")(latents)
    for level in range(2):
        x = ResnetBlock(width, groups, 1e-6, name=f"resnet_{level}")(x)
        x = Downsample(width, padding="end", name=f"downsample_{level}")(x)
    x = ops.reshape(ops.silu(x), (-1, latent_shape[0] // 4 * latent_shape[1] // 4 * width))
    x = ops.concatenate([x, keras.layers.Dense(width, "silu", name="features_in")(features)], axis=-1)
    x = keras.layers.Dense(width, "silu", name="dense")(x)
    return keras.Model([latents, features], keras.layers.Dense(outputs, dtype="float32", name="out")(x), name="reader")


def caption_features(text_encoder, captions):
    """The mean text feature of each caption, float32 (n, dim): the condition of both."""
    unique = sorted(set(captions))
    parts = []
    for start in range(0, len(unique), BATCH_SIZE):
        context, context_mask = text_encoder.encode(unique[start : start + BATCH_SIZE])
        visible = ops.cast(context_mask, "float32")[..., None]  # (b, tokens, 1)
        mean = ops.sum(visible * ops.cast(context, "float32"), axis=1) / ops.sum(visible, axis=1)
        parts.append(ops.convert_to_numpy(mean))
    rows = dict(zip(unique, np.concatenate(parts), strict=True))
    return np.stack([rows[caption] for caption in captions])
