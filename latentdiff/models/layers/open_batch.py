"""Shapes of tensors whose batch axis is open, so that the graph of a network for all batch sizes stays small."""

from keras import ops


def sides(inputs):
    """Sizes of all axes but the batch: ints, or scalar tensors where a graph leaves one of them open."""
    known = tuple(inputs.shape[1:])
    return tuple(ops.shape(inputs)[1:]) if None in known else known


def project(dense, inputs):
    """`dense(inputs)` for inputs of more than two axes, as one product of matrices.

    `keras.layers.Dense` gives the same, by ten more operations of a TensorFlow graph.
    """
    flat = ops.reshape(inputs, (-1, inputs.shape[-1]))
    return ops.reshape(dense(flat), (-1, *sides(inputs)[:-1], dense.units))
