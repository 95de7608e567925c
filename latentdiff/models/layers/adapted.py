"""One layer with adapters: what its kernel is while they are there."""

import functools
import math

import keras
from keras import ops


class Adapted:
    """Mixed into the class of a layer that is adapted: its kernel is the sum of its own and what adapters add."""

    @property
    def kernel(self):
        kernel = super().kernel
        for lora, path in self._adaptations():
            kernel = kernel + ops.reshape(lora.delta(path), kernel.shape)
        return kernel

    def save_own_variables(self, store):
        pairs = self._adaptations()
        _set_adaptations(self, [])  # Keras would save the sum
        try:
            super().save_own_variables(store)
        finally:
            _set_adaptations(self, pairs)


@functools.cache
def _adapted(kind):
    """`kind` with `Adapted`, under the same name: configs of models stay what they are."""
    return type(kind.__name__, (Adapted, kind), {"__module__": kind.__module__, "__doc__": kind.__doc__})


def check_plain(layer, path):
    """Raises ValueError for a quantized layer, which no adapter can change."""
    if getattr(layer, "quantization_mode", None) is not None:
        raise ValueError(f"`layer` must not be quantized. Received: {path} in {layer.quantization_mode}")


def adapt(layer, lora, path):
    """Lets a layer compute with the matrices that an adapter has for it at `path`; for `check_plain` layers."""
    if not isinstance(layer, Adapted):
        object.__setattr__(layer, "__class__", _adapted(type(layer)))
        _set_adaptations(layer, [])
    _set_adaptations(layer, [*layer._adaptations(), (lora, path)])


def unadapt(layer, lora):
    """Ends `adapt`."""
    left = [pair for pair in layer._adaptations() if pair[0] is not lora]
    _set_adaptations(layer, left)
    if not left:
        object.__setattr__(layer, "__class__", type(layer).__bases__[1])


def _set_adaptations(layer, pairs):
    """In a function, out of Keras' tracking: an adapter belongs to the model, not to its layers."""
    object.__setattr__(layer, "_adaptations", lambda: pairs)


def kernel_matrix_shape(layer):
    """(rows, columns) of a kernel as a matrix: the product of the sizes that it sums over, and of the others."""
    shape = tuple(layer._kernel.shape)
    summed = len(shape) - 1
    if isinstance(layer, keras.layers.EinsumDense):
        left, outputs = layer.equation.split("->")
        letters = left.split(",")[1]
        summed = sum(letter not in outputs for letter in letters)
        if any(letter in outputs for letter in letters[:summed]):
            raise ValueError(f"`equation` must sum over the first axes of the kernel. Received: {layer.equation!r}")
    return math.prod(shape[:summed]), math.prod(shape[summed:])
