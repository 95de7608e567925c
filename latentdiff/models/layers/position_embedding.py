"""Where on a map each place is."""

import math

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="latentdiff")
class PositionEmbedding(keras.layers.Layer):
    """Adds sines and cosines of the column to the first half of the channels, and those of the row to the second half.

    It has no weights and takes maps of any size.

    Args:
        max_period: the longest wavelength, in places over 2 pi.

    Call arguments:
        inputs: float (batch, height, width, channels); channels divisible by 4.

    Returns:
        float (batch, height, width, channels).

    Raises:
        ValueError: channels that can't be divided by 4.

    Reference: Vaswani et al., Attention Is All You Need, 2017, arXiv:1706.03762, section 3.5; in two dimensions
    Peebles and Xie, Scalable Diffusion Models with Transformers, 2022, arXiv:2212.09748.
    """

    def __init__(self, max_period=10000.0, **kwargs):
        super().__init__(**kwargs)
        self.max_period = max_period

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels % 4:
            raise ValueError(f"`inputs` must have channels divisible by 4. Received: shape {input_shape}")
        exponents = np.arange(channels // 4) / (channels // 4)
        self.frequencies = np.exp(-math.log(self.max_period) * exponents).astype("float32")

    def call(self, inputs):
        _, height, width, _ = ops.shape(inputs)
        columns, rows = self._waves(width), self._waves(height)  # (w, c / 2), (h, c / 2)
        # Zeros in the other half: two additions that broadcast, which every runtime has.
        columns = ops.concatenate([columns, ops.zeros_like(columns)], axis=-1)[None, None]  # (1, 1, w, c)
        rows = ops.concatenate([ops.zeros_like(rows), rows], axis=-1)[None, :, None]  # (1, h, 1, c)
        return inputs + ops.cast(columns, inputs.dtype) + ops.cast(rows, inputs.dtype)

    def _waves(self, count):
        angles = ops.arange(count, dtype="float32")[:, None] * self.frequencies[None]  # (count, c / 4)
        return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)  # (count, c / 2)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "max_period": self.max_period}
