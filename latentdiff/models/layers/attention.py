"""Attention of a sequence to itself or to another."""

import keras
from keras import ops

from latentdiff.models.layers.open_batch import project, sides

HIDDEN = 3e4  # subtracted from scores of hidden keys: their weight is exactly 0, and float16 can hold it


@keras.saving.register_keras_serializable(package="latentdiff")
class Attention(keras.layers.Layer):
    """Scaled dot-product attention with several heads, made of matrix products of rank four at most.

    Args:
        num_heads: number of heads; must divide the width of the inputs.
        use_bias: whether the projections to query, key and value have a bias (the one after attention always has).

    Call arguments:
        inputs: float (batch, queries, width).
        context: optional float (batch, keys, dim): the sequence to attend to; default: the inputs.
        key_mask: optional bool (batch, keys): False excludes a key exactly. Where all are excluded, nothing is attended
            to.

    Returns:
        float (batch, queries, width).

    Raises:
        ValueError: the width can't be divided into the heads.

    Reference: Vaswani et al., Attention Is All You Need, 2017, arXiv:1706.03762; in chunks: Rabe and Staats,
    Self-attention Does Not Need O(n^2) Memory, 2021, arXiv:2112.05682.
    """

    query_chunk_size = None  # set by `models.memory.save_memory`: queries whose scores are in memory at a time

    def __init__(self, num_heads, use_bias=False, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.use_bias = use_bias

    def build(self, inputs_shape, context_shape=None):
        width = inputs_shape[-1]
        if width % self.num_heads:
            raise ValueError(f"`num_heads` must divide the width. Received: num_heads={self.num_heads}, width={width}")

        def dense(name, shape, bias):
            layer = keras.layers.Dense(width, use_bias=bias, dtype=self.dtype_policy, name=name)
            layer.build(shape)
            return layer

        context_shape = context_shape or inputs_shape
        self.query = dense("query", inputs_shape, self.use_bias)
        self.key = dense("key", context_shape, self.use_bias)
        self.value = dense("value", context_shape, self.use_bias)
        self.out = dense("out", inputs_shape, True)

    def call(self, inputs, context=None, key_mask=None):
        context = inputs if context is None else context
        query = project(self.query, inputs)  # (b, q, width)
        key, value = project(self.key, context), project(self.value, context)  # (b, k, width) each
        if key_mask is not None:  # whatever stands at a hidden place, its score and its value are those of nothing
            visible = ops.cast(key_mask, key.dtype)[:, :, None]  # (b, k, 1)
            key, value = visible * key, visible * value
        query, key, value = (self._split(x) for x in (query, key, value))  # (b, length, heads, d) each
        if keras.config.backend() == "jax" and key_mask is None and self.query_chunk_size is None:
            x = ops.dot_product_attention(query, key, value)  # flash attention where the hardware has it
        else:
            x = self._attend(query, key, value, key_mask)
        return project(self.out, ops.reshape(x, (-1, *sides(inputs))))  # (b, q, width)

    def _attend(self, query, key, value, key_mask):
        """The textbook way, in operations that every runtime has."""
        query, key, value = (ops.transpose(x, (0, 2, 1, 3)) for x in (query, key, value))  # (b, heads, length, d)
        visible = None if key_mask is None else ops.cast(key_mask, "float32")[:, None, None, :]  # (b, 1, 1, k)
        if self.query_chunk_size is None:
            x = self._weigh(query, key, value, visible)
        else:
            x = in_chunks(lambda *tensors: self._weigh(*tensors, visible), self.query_chunk_size, query, key, value)
        return ops.transpose(x, (0, 2, 1, 3))  # (b, q, heads, d)

    def _weigh(self, query, key, value, visible):
        """The mean of the values that each query takes, (b, heads, q, d)."""
        scores = ops.matmul(query * query.shape[-1] ** -0.5, ops.transpose(key, (0, 1, 3, 2)))  # (b, heads, q, k)
        scores = ops.cast(scores, "float32")
        if visible is not None:
            scores = scores + (visible - 1.0) * HIDDEN
        weights = ops.cast(ops.softmax(scores, axis=-1), self.compute_dtype)
        return ops.matmul(weights, value)

    def _split(self, x):
        length, width = sides(x)
        return ops.reshape(x, (-1, length, self.num_heads, width // self.num_heads))

    def compute_output_shape(self, inputs_shape, context_shape=None):
        return inputs_shape

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads, "use_bias": self.use_bias}


def in_chunks(attend, size, query, key, value):
    """`attend(query, key, value)` (b, heads, q, d), by `size` queries at a time, also for its gradient."""
    batch, heads, length, dim = ops.shape(query)
    size = min(size, length) if isinstance(length, int) else ops.minimum(size, length)
    count = -(-length // size)
    padded = ops.pad(query, ((0, 0), (0, 0), (0, count * size - length), (0, 0)))
    chunks = ops.reshape(padded, (batch * heads, count, size, dim))
    chunks = ops.transpose(chunks, (1, 0, 2, 3))  # (n, b heads, size, d)

    def attend_chunk(chunk, key, value):
        x = attend(ops.reshape(chunk, (batch, heads, size, dim)), key, value)
        return ops.reshape(x, (batch * heads, size, dim))

    attend_chunk = keras.remat(attend_chunk)  # or the scores of all chunks would be kept for the gradient
    x = ops.map(lambda chunk: attend_chunk(chunk, key, value), chunks)  # (n, b heads, size, d)
    x = ops.reshape(ops.transpose(x, (1, 0, 2, 3)), (batch, heads, count * size, dim))
    return x[:, :, :length]  # (b, heads, q, d)
