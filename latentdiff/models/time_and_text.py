"""What a network knows of the time and of the whole text: one vector."""

import keras

from latentdiff.models.layers.text_and_size_embedding import TextAndSizeEmbedding
from latentdiff.models.layers.timestep_embedding import TimestepEmbedding


def embed_time(inputs, waves_dim, dim, pool_context, dtype, size_waves_dim=None):
    """The time, and what is known of the whole text and of the sizes of the image, as a vector.

    Args:
        inputs: dict of the symbolic inputs of a network; `pooled_context` and `image_sizes` are used where there are.
        waves_dim: see `TimestepEmbedding`.
        dim: width of the result.
        pool_context: whether to add the mean of the text features (as Imagen does, arXiv:2205.11487).
        dtype: dtype policy of the layers.
        size_waves_dim: see `TextAndSizeEmbedding`.

    Returns:
        symbolic float (batch, dim).
    """
    time_embedding = TimestepEmbedding(waves_dim, dim, dtype=dtype, name="time_embedding")(inputs["timesteps"])
    if "pooled_context" in inputs:
        added = TextAndSizeEmbedding(size_waves_dim, dim, dtype=dtype, name="added_embedding")
        time_embedding = time_embedding + added(inputs["pooled_context"], inputs["image_sizes"])
    if not pool_context:
        return time_embedding
    pool = keras.layers.GlobalAveragePooling1D(data_format="channels_last", dtype=dtype, name="pool")
    pooled = pool(inputs["context"], mask=inputs["context_mask"])
    pooled = keras.layers.LayerNormalization(dtype=dtype, name="pool_norm")(pooled)
    return time_embedding + keras.layers.Dense(dim, dtype=dtype, name="pool_dense")(pooled)
