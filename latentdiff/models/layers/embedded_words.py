"""One embedding layer with new words: which vectors belong to the ids behind its table."""

import functools

from keras import ops


class WithWords:
    """Mixed into the class of an embedding layer: the ids behind those of its table are those of new words."""

    def call(self, inputs, *args, **kwargs):
        return self._extended(super().call, inputs, *args, **kwargs)

    def quantized_call(self, inputs, *args, **kwargs):
        return self._extended(super().quantized_call, inputs, *args, **kwargs)

    def _extended(self, embed, inputs, *args, **kwargs):
        """`embed(inputs)` with the vectors of new words at their ids: float (batch, tokens, dim)."""
        vectors = self._word_vectors()
        if not vectors:
            return embed(inputs, *args, **kwargs)
        known = embed(ops.minimum(inputs, self.input_dim - 1), *args, **kwargs)
        vectors = ops.cast(ops.concatenate(vectors), known.dtype)  # (new ids, dim)
        place = ops.clip(inputs - self.input_dim, 0, vectors.shape[0] - 1)
        return ops.where((inputs >= self.input_dim)[..., None], ops.take(vectors, place, axis=0), known)


@functools.cache
def _with_words(kind):
    """`kind` with `WithWords`, under the same name: configs of models stay what they are."""
    return type(kind.__name__, (WithWords, kind), {"__module__": kind.__module__, "__doc__": kind.__doc__})


def extend(layer, word_vectors):
    """Lets an embedding layer take the ids of new words.

    Args:
        layer: a `keras.layers.Embedding`.
        word_vectors: function without arguments that gives a list of variables (ids, dim), in the order of the ids.
    """
    object.__setattr__(layer, "__class__", _with_words(type(layer)))
    object.__setattr__(layer, "_word_vectors", word_vectors)  # a function, out of Keras' tracking
