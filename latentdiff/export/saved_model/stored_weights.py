"""A model's weights as plain TensorFlow variables, perhaps with half the bits."""

import contextlib

import keras

STORAGE_DTYPES = ("float32", "float16", "bfloat16")


class StoredWeights:
    """Copies of the weights that make images, for functions that are saved.

    Args:
        model: the `LatentDiffusion` model.
        dtype: "float32", or "float16" or "bfloat16" for half the size: such weights are cast up once a request.

    Attributes:
        variables: list of tf.Variable, to be tracked by what is saved.

    Raises:
        ValueError: unknown dtype, or a weight too large for float16.
    """

    def __init__(self, model, dtype="float32"):
        import tensorflow as tf

        if dtype not in STORAGE_DTYPES:
            raise ValueError(f"`dtype` must be one of {STORAGE_DTYPES}. Received: dtype={dtype!r}")
        self.originals = weights_of(model)
        self.variables = []
        for original in self.originals:
            values = tf.cast(original.value, dtype)
            if not bool(tf.reduce_all(tf.math.is_finite(values))):
                raise ValueError(f"`dtype` {dtype!r} can't hold the weights {original.path}. Received: dtype={dtype!r}")
            self.variables.append(tf.Variable(values, trainable=False, name=original.path))

    def in_place(self):
        """A context in which the model computes with these weights in place of its own."""
        return keras.StatelessScope(state_mapping=list(zip(self.originals, self._values(), strict=True)))

    @contextlib.contextmanager
    def assigned(self):
        """A context in which the model's own variables hold these (rounded) values."""
        before = [original.numpy() for original in self.originals]
        try:
            for original, value in zip(self.originals, self._values(), strict=True):
                original.assign(value)
            yield
        finally:
            for original, value in zip(self.originals, before, strict=True):
                original.assign(value)

    def _values(self):
        import tensorflow as tf

        return [
            tf.cast(variable, original.dtype) for variable, original in zip(self.variables, self.originals, strict=True)
        ]


def weights_of(model):
    """The Keras variables of a `LatentDiffusion` model that its images depend on."""
    autoencoder = model.autoencoder
    text_encoder = (model.text_encoder.sequence_model, *model.text_encoder.word_layers)
    parts = (*text_encoder, model.network, autoencoder.encoder, autoencoder.decoder)
    variables = [variable for part in parts for variable in part.variables if "float" in str(variable.dtype)]
    return [*variables, autoencoder.latent_mean, autoencoder.latent_std]
