"""Self attention over the positions of a feature map."""

import keras
from keras import ops

from latentdiff.models.layers.attention import Attention
from latentdiff.models.layers.group_norm import GroupNorm
from latentdiff.models.layers.open_batch import sides


@keras.saving.register_keras_serializable(package="latentdiff")
class AttentionBlock(keras.layers.Layer):
    """Residual self attention between all positions of a feature map, as in the middle of the autoencoder.

    Args:
        num_heads: number of heads.
        groups, epsilon: of the group normalization.

    Call arguments:
        inputs: float (batch, height, width, channels).

    Returns:
        The same shape.

    Reference: Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022, arXiv:2112.10752.
    """

    def __init__(self, num_heads=1, groups=32, epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.groups = groups
        self.epsilon = epsilon
        self.norm = GroupNorm(groups, epsilon, dtype=self.dtype_policy, name="norm")
        self.attention = Attention(num_heads, use_bias=True, dtype=self.dtype_policy, name="attention")

    def build(self, input_shape):
        self.norm.build(input_shape)
        self.attention.build((input_shape[0], None, input_shape[-1]))

    def call(self, inputs):
        height, width, channels = sides(inputs)
        x = ops.reshape(self.norm(inputs), (-1, height * width, channels))  # (b, h w, c)
        return inputs + ops.reshape(self.attention(x), (-1, height, width, channels))  # (b, h, w, c)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = {"num_heads": self.num_heads, "groups": self.groups, "epsilon": self.epsilon}
        return {**super().get_config(), **config}
