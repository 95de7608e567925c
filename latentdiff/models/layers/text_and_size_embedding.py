"""The whole text and the sizes of the image as a vector."""

import keras
from keras import ops

from latentdiff.models.layers.timestep_embedding import frequencies, waves

NUM_SIZES = 6


@keras.saving.register_keras_serializable(package="latentdiff")
class TextAndSizeEmbedding(keras.layers.Layer):
    """Joins a vector of the text with cosines and sines of the sizes of the image, then two dense layers.

    Args:
        waves_dim: number of cosines and sines of each size, even.
        dim: width of the result.

    Call arguments:
        pooled_context: float (batch, pooled_dim).
        image_sizes: float (batch, 6), in pixels, see `image_members`.

    Returns:
        float (batch, dim).

    Reference: Podell et al., SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis, 2023,
    arXiv:2307.01952, section 2.2.
    """

    def __init__(self, waves_dim, dim, **kwargs):
        super().__init__(autocast=False, **kwargs)  # half precision can't tell 1023 pixels from 1024
        self.waves_dim = waves_dim
        self.dim = dim
        self.frequencies = frequencies(waves_dim)
        self.dense_in = keras.layers.Dense(dim, activation="silu", dtype=self.dtype_policy, name="dense_in")
        self.dense_out = keras.layers.Dense(dim, dtype=self.dtype_policy, name="dense_out")

    def build(self, pooled_context_shape, image_sizes_shape):
        self.dense_in.build((None, pooled_context_shape[-1] + NUM_SIZES * self.waves_dim))
        self.dense_out.build((None, self.dim))

    def call(self, pooled_context, image_sizes):
        sizes = ops.reshape(waves(image_sizes, self.frequencies), (-1, NUM_SIZES * self.waves_dim))  # (b, 6 waves_dim)
        joined = ops.concatenate([ops.cast(pooled_context, "float32"), sizes], axis=-1)
        return self.dense_out(self.dense_in(ops.cast(joined, self.compute_dtype)))

    def compute_output_shape(self, pooled_context_shape, image_sizes_shape):
        return (pooled_context_shape[0], self.dim)

    def get_config(self):
        return {**super().get_config(), "waves_dim": self.waves_dim, "dim": self.dim}
