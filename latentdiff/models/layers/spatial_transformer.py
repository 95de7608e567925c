"""Attention of a feature map to itself and to the text."""

import keras
from keras import ops

from latentdiff.models.layers.group_norm import GroupNorm
from latentdiff.models.layers.open_batch import sides
from latentdiff.models.layers.recompute import run_block
from latentdiff.models.layers.transformer_block import TransformerBlock


@keras.saving.register_keras_serializable(package="latentdiff")
class SpatialTransformer(keras.layers.Layer):
    """Residual stack of transformer blocks over the positions of a feature map, conditioned on the text.

    Args:
        num_heads: number of heads.
        depth: number of transformer blocks.
        groups: of the group normalization; its epsilon is 1e-6, as in Stable Diffusion.
        linear_projection: False projects before the map is flattened, by a 1 x 1 convolution (Stable Diffusion 1);
            True after it, by a dense layer (Stable Diffusion 2). The numbers are the same, the weights' shapes differ.
        activation, expansion: of the feed-forward layers, see `TransformerBlock`.

    Call arguments:
        inputs: float (batch, height, width, channels).
        context: float (batch, tokens, dim).
        key_mask: optional bool (batch, tokens): False hides a token of the context.

    Returns:
        float (batch, height, width, channels).

    Reference: Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022, arXiv:2112.10752.
    """

    gradient_checkpointing = False  # set by `models.memory.save_memory`

    def __init__(
        self, num_heads, depth=1, groups=32, linear_projection=False, activation="gelu", expansion=4, **kwargs
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.depth = depth
        self.groups = groups
        self.linear_projection = linear_projection
        self.activation = activation
        self.expansion = expansion
        policy = self.dtype_policy
        self.norm = GroupNorm(groups, 1e-6, dtype=policy, name="norm")
        self.blocks = [
            TransformerBlock(num_heads, activation, expansion, dtype=policy, name=f"block_{index}")
            for index in range(depth)
        ]

    def build(self, inputs_shape, context_shape):
        channels = inputs_shape[-1]
        flat_shape = (inputs_shape[0], None, channels)
        if self.linear_projection:
            self.project_in = keras.layers.Dense(channels, dtype=self.dtype_policy, name="project_in")
            self.project_out = keras.layers.Dense(
                channels, kernel_initializer="zeros", dtype=self.dtype_policy, name="project_out"
            )
        else:
            self.project_in = keras.layers.Conv2D(
                channels, 1, data_format="channels_last", dtype=self.dtype_policy, name="project_in"
            )
            self.project_out = keras.layers.Conv2D(
                channels,
                1,
                kernel_initializer="zeros",
                data_format="channels_last",
                dtype=self.dtype_policy,
                name="project_out",
            )
        self.norm.build(inputs_shape)
        for projection in (self.project_in, self.project_out):
            projection.build(flat_shape if self.linear_projection else inputs_shape)
        for block in self.blocks:
            block.build(flat_shape, context_shape)

    def call(self, inputs, context, key_mask=None, training=None):
        def block(inputs, context):
            return self._attend(inputs, context, key_mask)

        return run_block(self, block, training, inputs, context)

    def _attend(self, inputs, context, key_mask):
        height, width, channels = sides(inputs)
        x = self.norm(inputs)
        # A dense layer on a map of rank four is the same product as a 1 x 1 convolution, so the order is free.
        x = ops.reshape(self.project_in(x), (-1, height * width, channels))  # (b, h w, c)
        for block in self.blocks:
            x = block(x, context, key_mask=key_mask)
        x = ops.reshape(x, (-1, height, width, channels))  # (b, h, w, c)
        return inputs + self.project_out(x)

    def compute_output_shape(self, inputs_shape, context_shape=None):
        return inputs_shape

    def get_config(self):
        config = {
            "num_heads": self.num_heads,
            "depth": self.depth,
            "groups": self.groups,
            "linear_projection": self.linear_projection,
            "activation": self.activation,
            "expansion": self.expansion,
        }
        return {**super().get_config(), **config}
