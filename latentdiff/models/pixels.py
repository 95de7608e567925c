"""Pixels as models see them: uint8 [0, 255] <-> float [-1, 1]."""

from keras import ops


def to_float(images):
    """Pixels as float32 in [-1, 1].

    Args:
        images: uint8 [0, 255], or float that is taken to be in [-1, 1] already; any shape.

    Returns:
        float32, the same shape.
    """
    if "int" in str(images.dtype):
        return ops.cast(images, "float32") / 127.5 - 1.0
    return ops.cast(images, "float32")


def to_uint8(images):
    """Pixels as uint8 in [0, 255]: float [-1, 1] rounded to the nearest level; values outside saturate.

    Args:
        images: float tensor [-1, 1], any shape.

    Returns:
        uint8 tensor, the same shape.
    """
    levels = ops.clip(ops.cast(images, "float32") * 127.5 + 127.5, 0.0, 255.0)
    return ops.cast(ops.floor(levels + 0.5), "uint8")
