"""Group normalization for feature maps."""

import keras
from keras import ops

from latentdiff.models.layers.open_batch import sides


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
        x = x - self._share(_mean_of_places(x))
        variance = self._share(_mean_of_places(ops.square(x)))
        x = x * (ops.rsqrt(variance + self.epsilon) * ops.cast(self.scale, "float32"))
        return ops.cast(x + ops.cast(self.offset, "float32"), self.compute_dtype)

    def _share(self, statistics):
        """Gives every channel the mean over its group. Whole channels first: their sums run along memory."""
        channels = statistics.shape[-1]
        grouped = ops.reshape(statistics, (-1, channels // self.group_size, self.group_size))  # (b, groups, c / groups)
        shared = ops.mean(grouped, axis=-1, keepdims=True) * ops.ones((1, self.group_size), dtype="float32")
        return ops.reshape(shared, (-1, *sides(statistics)))  # (b, 1, ..., c)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "groups": self.groups, "epsilon": self.epsilon}


def _mean_of_places(x):
    """Mean over all axes between batch and channels, one after the other, (batch, 1, ..., channels).

    A sum over all places of a large map would leave the range of float16, in which runtimes on GPUs compute.
    """
    for axis in reversed(range(1, len(x.shape) - 1)):
        x = ops.mean(x, axis=axis, keepdims=True)
    return x
