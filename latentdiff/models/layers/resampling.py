"""Halving and doubling the sides of feature maps."""

import keras
from keras import ops

from latentdiff.models.layers.open_batch import sides


@keras.saving.register_keras_serializable(package="latentdiff")
class Downsample(keras.layers.Layer):
    """Halves height and width by a 3 x 3 convolution of stride 2.

    Args:
        width: channels of the result.
        padding: "both" pads one row and column on every side (the U-Nets of Stable Diffusion), "end" pads only at
            the bottom and the right (its autoencoder).

    Call arguments:
        inputs: float (batch, height, width, channels), even sides.

    Returns:
        float (batch, height / 2, width / 2, `width`).
    """

    def __init__(self, width, padding="both", **kwargs):
        if padding not in ("both", "end"):
            raise ValueError(f"`padding` must be 'both' or 'end'. Received: padding={padding!r}")
        super().__init__(**kwargs)
        self.width = width
        self.padding = padding
        pad = ((1, 1), (1, 1)) if padding == "both" else ((0, 1), (0, 1))
        self.pad = keras.layers.ZeroPadding2D(pad, data_format="channels_last", dtype=self.dtype_policy, name="pad")
        self.conv = keras.layers.Conv2D(
            width, 3, strides=2, data_format="channels_last", dtype=self.dtype_policy, name="conv"
        )

    def build(self, input_shape):
        self.pad.build(input_shape)
        self.conv.build(self.pad.compute_output_shape(input_shape))

    def call(self, inputs):
        return self.conv(self.pad(inputs))

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, height and height // 2, width and width // 2, self.width)

    def get_config(self):
        return {**super().get_config(), "width": self.width, "padding": self.padding}


@keras.saving.register_keras_serializable(package="latentdiff")
class Upsample(keras.layers.Layer):
    """Doubles height and width by repeating pixels, then smooths by a 3 x 3 convolution.

    The repetition is made of concatenations and reshapes: XLA could not always compile the gradient of a nearest
    neighbour resize, and LiteRT's GPU delegate refuses broadcasts.

    Args:
        width: channels of the result.

    Call arguments:
        inputs: float (batch, height, width, channels).

    Returns:
        float (batch, 2 height, 2 width, `width`).
    """

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.conv = keras.layers.Conv2D(
            width, 3, padding="same", data_format="channels_last", dtype=self.dtype_policy, name="conv"
        )

    def build(self, input_shape):
        self.conv.build(input_shape)

    def call(self, inputs):
        height, width, channels = sides(inputs)
        x = ops.concatenate([inputs, inputs], axis=-1)  # (b, h, w, 2 c)
        x = ops.reshape(x, (-1, height, 2 * width * channels))  # (b, h, 2 w c)
        x = ops.concatenate([x, x], axis=-1)  # (b, h, 4 w c)
        return self.conv(ops.reshape(x, (-1, 2 * height, 2 * width, channels)))  # (b, 2 h, 2 w, width)

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, height and 2 * height, width and 2 * width, self.width)

    def get_config(self):
        return {**super().get_config(), "width": self.width}
