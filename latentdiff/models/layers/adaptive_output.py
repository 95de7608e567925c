"""The last layer of the diffusion transformer."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="latentdiff")
class AdaptiveOutput(keras.layers.Layer):
    """Normalizes a map, shifts and scales it by the time, and projects it; the projection starts as zeros.

    Args:
        dim: channels of the result.

    Call arguments:
        inputs: float (batch, height, width, channels).
        embedding: float (batch, channels), of the time.

    Returns:
        float (batch, height, width, `dim`).

    Reference: Peebles and Xie, Scalable Diffusion Models with Transformers, 2022, arXiv:2212.09748; Chen et al.,
    PixArt-alpha, 2023, arXiv:2310.00426.
    """

    def __init__(self, dim, **kwargs):
        super().__init__(**kwargs)
        self.dim = dim
        policy = self.dtype_policy
        self.norm = keras.layers.LayerNormalization(epsilon=1e-6, center=False, scale=False, dtype=policy, name="norm")
        self.project = keras.layers.Dense(dim, kernel_initializer="zeros", dtype=policy, name="project")

    def build(self, inputs_shape, embedding_shape):
        channels = inputs_shape[-1]
        self.scale_shift_table = self.add_weight(
            name="scale_shift_table",
            shape=(2, channels),
            initializer=keras.initializers.RandomNormal(stddev=channels**-0.5),
        )
        self.norm.build(inputs_shape)
        self.project.build(inputs_shape)

    def call(self, inputs, embedding):
        modulation = embedding[:, None] + self.scale_shift_table[None]  # (b, 2, c)
        shift, scale = (part[:, None] for part in ops.split(modulation, 2, axis=1))  # (b, 1, 1, c) each
        return self.project(self.norm(inputs) * (1.0 + scale) + shift)  # (b, h, w, dim)

    def compute_output_shape(self, inputs_shape, embedding_shape=None):
        return (*inputs_shape[:-1], self.dim)

    def get_config(self):
        return {**super().get_config(), "dim": self.dim}
