"""The transformer block of the diffusion transformer."""

import keras
from keras import ops

from latentdiff.models.layers.attention import Attention
from latentdiff.models.layers.open_batch import project, sides
from latentdiff.models.layers.recompute import run_block


@keras.saving.register_keras_serializable(package="latentdiff")
class AdaptiveBlock(keras.layers.Layer):
    """Self attention, attention to the context and a feed-forward layer, steered by the time.

    The time shifts and scales what enters self attention and feed-forward layer, and gates what leaves them
    (adaLN-single): one vector serves all blocks, and each adds a table of its own.

    Args:
        num_heads: number of heads of both attentions.
        expansion: inner width of the feed-forward layer over the outer.

    Call arguments:
        inputs: float (batch, height, width, channels).
        modulation: float (batch, 6 channels).
        context: float (batch, tokens, dim).
        key_mask: optional bool (batch, tokens): False hides a token of the context.

    Returns:
        float (batch, height, width, channels).

    Reference: Peebles and Xie, Scalable Diffusion Models with Transformers, 2022, arXiv:2212.09748; Chen et al.,
    PixArt-alpha, 2023, arXiv:2310.00426, section 2.3.
    """

    gradient_checkpointing = False  # set by `models.memory.save_memory`

    def __init__(self, num_heads, expansion=4, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.expansion = expansion
        policy = self.dtype_policy
        self.norm1, self.norm2 = (
            keras.layers.LayerNormalization(epsilon=1e-6, center=False, scale=False, dtype=policy, name=name)
            for name in ("norm1", "norm2")
        )
        self.self_attention = Attention(num_heads, use_bias=True, dtype=policy, name="self_attention")
        self.cross_attention = Attention(num_heads, use_bias=True, dtype=policy, name="cross_attention")

    def build(self, inputs_shape, modulation_shape, context_shape):
        channels = inputs_shape[-1]
        flat_shape = (inputs_shape[0], None, channels)
        self.scale_shift_table = self.add_weight(
            name="scale_shift_table",
            shape=(6, channels),
            initializer=keras.initializers.RandomNormal(stddev=channels**-0.5),
        )
        policy = self.dtype_policy
        self.feed_in = keras.layers.Dense(self.expansion * channels, dtype=policy, name="feed_in")
        self.feed_out = keras.layers.Dense(channels, dtype=policy, name="feed_out")
        for layer in (self.norm1, self.norm2, self.self_attention, self.feed_in):
            layer.build(flat_shape)
        self.cross_attention.build(flat_shape, context_shape)
        self.feed_out.build((inputs_shape[0], None, self.expansion * channels))

    def call(self, inputs, modulation, context, key_mask=None, training=None):
        modulation = ops.reshape(modulation, (-1, 6, inputs.shape[-1])) + self.scale_shift_table[None]  # (b, 6, c)

        def block(inputs, modulation, context):
            return self._transform(inputs, modulation, context, key_mask)

        return run_block(self, block, training, inputs, modulation, context)

    def _transform(self, inputs, modulation, context, key_mask):
        height, width, channels = sides(inputs)
        shift1, scale1, gate1, shift2, scale2, gate2 = ops.split(modulation, 6, axis=1)  # (b, 1, c) each
        x = ops.reshape(inputs, (-1, height * width, channels))  # (b, h w, c)
        x = x + gate1 * self.self_attention(self.norm1(x) * (1.0 + scale1) + shift1)
        x = x + self.cross_attention(x, context, key_mask=key_mask)
        hidden = project(self.feed_in, self.norm2(x) * (1.0 + scale2) + shift2)  # (b, h w, expansion c)
        x = x + gate2 * project(self.feed_out, ops.gelu(hidden, approximate=True))
        return ops.reshape(x, (-1, height, width, channels))  # (b, h, w, c)

    def compute_output_shape(self, inputs_shape, modulation_shape=None, context_shape=None):
        return inputs_shape

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads, "expansion": self.expansion}
