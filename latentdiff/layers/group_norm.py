"""Group normalization for feature maps."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="latentdiff")
class GroupNorm(keras.layers.Layer):
    """Normalizes groups of channels of each example to zero mean and unit variance, then scales and shifts channels.

    Unlike `keras.layers.GroupNormalization` it never makes a tensor of rank five, which LiteRT's GPU delegate can't
    take, and computes in float32 whatever the policy is. The default epsilon is that of Stable Diffusion.

    Args:
        groups: number of groups; must divide the number of channels. Fewer channels than groups: one channel a group.
        epsilon: added to the variance.

    Call arguments:
        inputs: float (batch, ..., channels).

    Returns:
        The same shape and dtype.

    Raises:
        ValueError: the channels can't be divided into the groups.

    Reference: Wu and He, Group Normalization, 2018, arXiv:1803.08494.
    """

    def __init__(self, groups=32, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.groups = groups
        self.epsilon = epsilon

    def build(self, input_shape):
        channels = input_shape[-1]
        self.group_size = max(channels // self.groups, 1)
        if channels > self.groups and channels % self.groups:
            raise ValueError(
                f"`groups` must divide the number of channels. Received: groups={self.groups}, channels={channels}"
            )
        self.scale = self.add_weight(name="scale", shape=(channels,), initializer="ones")
        self.offset = self.add_weight(name="offset", shape=(channels,), initializer="zeros")

    def call(self, inputs):
        x = ops.cast(inputs, "float32")
        channels = inputs.shape[-1]
        grouped = ops.reshape(x, (ops.shape(x)[0], -1, channels // self.group_size, self.group_size))  # (b, hw, g, c/g)
        grouped = grouped - ops.mean(grouped, axis=(1, 3), keepdims=True)
        variance = ops.mean(ops.square(grouped), axis=(1, 3), keepdims=True)
        grouped = grouped * ops.rsqrt(variance + self.epsilon)
        x = ops.reshape(grouped, ops.shape(x))  # (b, h, w, c)
        x = x * ops.cast(self.scale, "float32") + ops.cast(self.offset, "float32")
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "groups": self.groups, "epsilon": self.epsilon}
