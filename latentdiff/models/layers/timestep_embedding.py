"""Timesteps as vectors."""

import math

import keras
import numpy as np
from keras import ops


def frequencies(waves_dim, max_period=10000.0):
    """Those of `waves_dim` cosines and sines, float32 (waves_dim / 2,); ValueError for an odd number of them."""
    if waves_dim % 2:
        raise ValueError(f"`waves_dim` must be even. Received: waves_dim={waves_dim}")
    exponents = np.arange(waves_dim // 2) / (waves_dim // 2)
    return np.exp(-math.log(max_period) * exponents).astype("float32")


def waves(values, frequencies):
    """Cosines, then sines, of numbers of shape (...): float32 (..., 2 * number of frequencies)."""
    angles = ops.cast(values, "float32")[..., None] * frequencies
    return ops.concatenate([ops.cos(angles), ops.sin(angles)], axis=-1)


@keras.saving.register_keras_serializable(package="latentdiff")
class TimestepEmbedding(keras.layers.Layer):
    """Turns timesteps into vectors: cosines and sines of rising wavelength, then two dense layers.

    Args:
        waves_dim: number of cosines and sines together, even.
        dim: width of the result.
        max_period: the longest wavelength, in timesteps over 2 pi.

    Call arguments:
        timesteps: (batch,), whole or fractional.

    Returns:
        float (batch, dim).

    Reference: Ho et al., Denoising Diffusion Probabilistic Models, 2020, arXiv:2006.11239, appendix B.
    """

    def __init__(self, waves_dim, dim, max_period=10000.0, **kwargs):
        super().__init__(autocast=False, **kwargs)  # half precision can't tell timestep 900 from 901
        self.waves_dim = waves_dim
        self.dim = dim
        self.max_period = max_period
        self.frequencies = frequencies(waves_dim, max_period)
        self.dense_in = keras.layers.Dense(dim, activation="silu", dtype=self.dtype_policy, name="dense_in")
        self.dense_out = keras.layers.Dense(dim, dtype=self.dtype_policy, name="dense_out")

    def build(self, input_shape):
        self.dense_in.build((None, self.waves_dim))
        self.dense_out.build((None, self.dim))

    def call(self, timesteps):
        values = waves(timesteps, self.frequencies)  # (b, waves_dim)
        return self.dense_out(self.dense_in(ops.cast(values, self.compute_dtype)))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.dim)

    def get_config(self):
        config = {"waves_dim": self.waves_dim, "dim": self.dim, "max_period": self.max_period}
        return {**super().get_config(), **config}
