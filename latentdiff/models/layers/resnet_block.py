"""The residual block of both networks."""

import keras

from latentdiff.models.layers.group_norm import GroupNorm
from latentdiff.models.layers.recompute import DrawnSeed, run_block


@keras.saving.register_keras_serializable(package="latentdiff")
class ResnetBlock(keras.layers.Layer):
    """Two 3 x 3 convolutions, each after normalization and SiLU, plus a shortcut.

    Args:
        width: channels of the result.
        groups, epsilon: of the group normalizations.
        dropout: rate in front of the second convolution.

    Call arguments:
        inputs: float (batch, height, width, channels).
        time_embedding: optional (batch, dim); through SiLU and a dense layer it is added between the convolutions.

    Returns:
        float (batch, height, width, `width`).

    Reference: Ho et al., Denoising Diffusion Probabilistic Models, 2020, arXiv:2006.11239; He et al. 2016.
    """

    gradient_checkpointing = False  # set by `models.memory.save_memory`

    def __init__(self, width, groups=32, epsilon=1e-5, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.groups = groups
        self.epsilon = epsilon
        self.dropout = dropout
        policy = self.dtype_policy
        self.norm1 = GroupNorm(groups, epsilon, dtype=policy, name="norm1")
        self.conv1 = keras.layers.Conv2D(
            width, 3, padding="same", data_format="channels_last", dtype=policy, name="conv1"
        )
        self.norm2 = GroupNorm(groups, epsilon, dtype=policy, name="norm2")
        self.drop = keras.layers.Dropout(dropout, dtype=policy, name="drop")
        # Zeros make a new block the identity, so that training of a deep stack starts stable.
        self.conv2 = keras.layers.Conv2D(
            width,
            3,
            padding="same",
            kernel_initializer="zeros",
            data_format="channels_last",
            dtype=policy,
            name="conv2",
        )
        self.time_dense = self.shortcut = None

    def build(self, inputs_shape, time_embedding_shape=None):
        inner_shape = (*inputs_shape[:-1], self.width)
        self.norm1.build(inputs_shape)
        self.conv1.build(inputs_shape)
        self.norm2.build(inner_shape)
        self.conv2.build(inner_shape)
        if time_embedding_shape is not None:
            self.time_dense = keras.layers.Dense(self.width, dtype=self.dtype_policy, name="time_dense")
            self.time_dense.build(time_embedding_shape)
        if inputs_shape[-1] != self.width:
            self.shortcut = keras.layers.Conv2D(
                self.width, 1, data_format="channels_last", dtype=self.dtype_policy, name="shortcut"
            )
            self.shortcut.build(inputs_shape)

    def call(self, inputs, time_embedding=None, training=None):
        drop = self._drawn_dropout(training)

        def block(inputs, *time_embedding):
            x = self.conv1(keras.ops.silu(self.norm1(inputs)))  # (b, h, w, width)
            for embedding in time_embedding:
                x = x + self.time_dense(keras.ops.silu(embedding))[:, None, None, :]
            x = self.conv2(drop(keras.ops.silu(self.norm2(x))))
            return x + (inputs if self.shortcut is None else self.shortcut(inputs))

        return run_block(self, block, training, inputs, *(() if time_embedding is None else (time_embedding,)))

    def _drawn_dropout(self, training):
        """The function that `drop` is in this call, with its seed drawn."""
        if not training or not self.dropout:
            return lambda x: x
        seed = DrawnSeed(self.drop.seed_generator)
        return lambda x: keras.random.dropout(x, self.dropout, seed=seed)

    def compute_output_shape(self, inputs_shape, time_embedding_shape=None):
        return (*inputs_shape[:-1], self.width)

    def get_config(self):
        config = {"width": self.width, "groups": self.groups, "epsilon": self.epsilon, "dropout": self.dropout}
        return {**super().get_config(), **config}
