"""How PyTorch and Keras lay out the same weight. Needs numpy alone."""

import math


def from_torch(values):
    """PyTorch's (out, in, height, width) or (out, in) -> Keras' (height, width, in, out) or (in, out)."""
    return values.transpose(2, 3, 1, 0) if values.ndim == 4 else values.T


def to_torch_shape(shape):
    """The shape in PyTorch's layout of a kernel of ours, (height, width, in, out) or (in, out)."""
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else tuple(reversed(shape))


def torch_shape(path, shape):
    """The shape in PyTorch's layout of the variable at `path` of a Keras model."""
    return tuple(shape) if _is_table(path) else to_torch_shape(_with_joined_heads(path, tuple(shape)))


def check_shape(received, path, shape, what):
    """Raises ValueError unless a weight of the shape `received` fits the variable at `path`, of this `shape`.

    A matrix and a convolution of 1 x 1 are the same.
    """
    expected = torch_shape(path, shape)
    if _as_matrix(received) != _as_matrix(expected):
        raise ValueError(f"{what} must have the shape {expected}. Received: {tuple(received)}")


def to_variable(values, path, shape):
    """A weight in PyTorch's layout as that of the variable at `path`, of this `shape`."""
    values = values.reshape(torch_shape(path, shape))
    return values if _is_table(path) else from_torch(values).reshape(shape)


def to_torch(values, path):
    """The inverse of `to_variable`."""
    if _is_table(path):
        return values
    joined = values.reshape(_with_joined_heads(path, values.shape))
    return joined.transpose(3, 2, 0, 1) if joined.ndim == 4 else joined.T


def _is_table(path):
    return path.endswith("embeddings")


def _with_joined_heads(path, shape):
    """`keras.layers.MultiHeadAttention` keeps heads apart: (in, heads, dim) and (heads, dim, out) as matrices."""
    if path.endswith("bias"):
        return (math.prod(shape),)
    if path.endswith("kernel") and len(shape) == 3:
        is_output = path.split("/")[-2] == "attention_output"
        return (math.prod(shape[:2]), shape[2]) if is_output else (shape[0], math.prod(shape[1:]))
    return shape


def _as_matrix(shape):
    return tuple(shape[:2]) if len(shape) == 4 and shape[2:] == (1, 1) else tuple(shape)
