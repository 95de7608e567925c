"""The transformer block inside the U-Net."""

import functools

import keras
from keras import ops

from latentdiff.models.layers.attention import Attention
from latentdiff.models.layers.open_batch import project

ACTIVATIONS = {"gelu": functools.partial(ops.gelu, approximate=False), "gelu_tanh": ops.gelu}


@keras.saving.register_keras_serializable(package="latentdiff")
class TransformerBlock(keras.layers.Layer):
    """Self attention, attention to the context and a gated feed-forward layer, each normalized first and residual.

    Args:
        num_heads: number of heads of both attentions.
        activation: "gelu" (exact, as in Stable Diffusion) or "gelu_tanh" (as LiteRT's builtin op has it).
        expansion: inner width of the feed-forward layer over the outer.

    Call arguments:
        inputs: float (batch, positions, width).
        context: float (batch, tokens, dim).
        key_mask: optional bool (batch, tokens): False hides a token of the context.

    Returns:
        float (batch, positions, width).

    Reference: Rombach et al., 2022, arXiv:2112.10752; Shazeer, GLU Variants Improve Transformer, 2020,
    arXiv:2002.05202.
    """

    def __init__(self, num_heads, activation="gelu", expansion=4, **kwargs):
        if activation not in ACTIVATIONS:
            raise ValueError(f"`activation` must be one of {sorted(ACTIVATIONS)}. Received: activation={activation!r}")
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.activation = activation
        self.expansion = expansion
        policy = self.dtype_policy
        self.norm1 = keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name="norm1")
        self.self_attention = Attention(num_heads, dtype=policy, name="self_attention")
        self.norm2 = keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name="norm2")
        self.cross_attention = Attention(num_heads, dtype=policy, name="cross_attention")
        self.norm3 = keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name="norm3")

    def build(self, inputs_shape, context_shape):
        width = inputs_shape[-1]
        self.feed_in = keras.layers.Dense(2 * self.expansion * width, dtype=self.dtype_policy, name="feed_in")
        self.feed_out = keras.layers.Dense(width, dtype=self.dtype_policy, name="feed_out")
        for layer in (self.norm1, self.norm2, self.norm3, self.self_attention, self.feed_in):
            layer.build(inputs_shape)
        self.cross_attention.build(inputs_shape, context_shape)
        self.feed_out.build((*inputs_shape[:-1], self.expansion * width))

    def call(self, inputs, context, key_mask=None):
        x = inputs + self.self_attention(self.norm1(inputs))
        x = x + self.cross_attention(self.norm2(x), context, key_mask=key_mask)
        hidden, gate = ops.split(project(self.feed_in, self.norm3(x)), 2, axis=-1)  # (b, n, expansion * width) each
        return x + project(self.feed_out, hidden * ACTIVATIONS[self.activation](gate))  # (b, n, width)

    def compute_output_shape(self, inputs_shape, context_shape=None):
        return inputs_shape

    def get_config(self):
        config = {"num_heads": self.num_heads, "activation": self.activation, "expansion": self.expansion}
        return {**super().get_config(), **config}
