"""Space to depth and back, with tensors of rank four or less."""

import keras
from keras import ops

from latentdiff.models.layers.open_batch import sides


@keras.saving.register_keras_serializable(package="latentdiff")
class Patchify(keras.layers.Layer):
    """Moves each square of `size` x `size` pixels into the channels; no tensor has a rank above four.

    Call arguments:
        inputs: float (batch, size * h, size * w, channels).

    Returns:
        float (batch, h, w, size * size * channels).
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def call(self, inputs):
        height, width, channels = sides(inputs)
        size = self.size
        height, width = height // size, width // size
        x = ops.reshape(inputs, (-1, size, width, size * channels))  # (b h, size, w, size c)
        x = ops.transpose(x, (0, 2, 1, 3))  # (b h, w, size, size c)
        return ops.reshape(x, (-1, height, width, size * size * channels))  # (b, h, w, size size c)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, height and height // self.size, width and width // self.size, channels * self.size**2)

    def get_config(self):
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable(package="latentdiff")
class Unpatchify(keras.layers.Layer):
    """The inverse of `Patchify`.

    Call arguments:
        inputs: float (batch, h, w, size * size * channels).

    Returns:
        float (batch, size * h, size * w, channels).
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def call(self, inputs):
        height, width, depth = sides(inputs)
        size, channels = self.size, depth // self.size**2
        x = ops.reshape(inputs, (-1, width, size, size * channels))  # (b h, w, size, size c)
        x = ops.transpose(x, (0, 2, 1, 3))  # (b h, size, w, size c)
        return ops.reshape(x, (-1, height * size, width * size, channels))  # (b, size h, size w, c)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, height and height * self.size, width and width * self.size, channels // self.size**2)

    def get_config(self):
        return {**super().get_config(), "size": self.size}
