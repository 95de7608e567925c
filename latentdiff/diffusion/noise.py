"""Seeded Gaussian noise: the same numbers on every backend, compiled or not, alone or in a batch.

The generators of the frameworks differ between backends and even between eager and compiled code. Here each number is
a pure function of (seed, stream, index): an integer hash makes two uniform numbers of it, the Box-Muller transform
turns them into a Gaussian one. All of it is 32-bit integer arithmetic and three elementary functions: every runtime
has them.
"""

import math

import numpy as np
from keras import ops


def _int32(value):
    """A 32-bit pattern as the signed integer of the same bits."""
    return int(np.uint32(value & 0xFFFFFFFF).view(np.int32))


def _shift_right(bits, count):
    """Logical shift of signed integers: the sign bit does not smear. LiteRT has no bitwise and."""
    return ops.right_shift(bits, count) + ops.cast(bits < 0, "int32") * (1 << (32 - count))


def _mix(bits):
    """Scrambles int32 bits, one to one, so that each sways all others: MurmurHash3's finalizer (Austin Appleby)."""
    bits = ops.bitwise_xor(bits, _shift_right(bits, 16)) * _int32(0x85EBCA6B)
    bits = ops.bitwise_xor(bits, _shift_right(bits, 13)) * _int32(0xC2B2AE35)
    return ops.bitwise_xor(bits, _shift_right(bits, 16))


def _uniform(bits):
    """int32 bits -> float32 in the open interval (0, 1), 23 bits fine."""
    return (ops.cast(_shift_right(bits, 9), "float32") + 0.5) * 2.0**-23


def normal(seeds, shape, stream=0):
    """Standard Gaussian noise, one independent draw a seed.

    Args:
        seeds: int32 (batch,), each in [0, 2**31 - 1].
        shape: shape of one draw, a tuple of ints.
        stream: int, or int32 (batch,): draws with the same seed and different streams are independent. Sampling takes
            stream 0 for the first noise and 1, 2, ... for the noise that stochastic samplers add after each step.

    Returns:
        float32 (batch, *shape). Row i depends on seeds[i] and stream alone.

    Reference: Box and Muller, A Note on the Generation of Random Normal Deviates, 1958.
    """
    size = math.prod(shape)
    seeds = ops.cast(seeds, "int32")
    keys = _mix(seeds + _mix(ops.cast(stream, "int32") * _int32(0x9E3779B9) + 1))[:, None]  # (batch, 1)
    index = (np.arange(size, dtype="uint32") * np.uint32(0x61C88647)).view("int32")[None]  # (1, size)
    first = _mix(_mix(keys + index) + keys)  # (batch, size)
    second = _mix(first + _int32(0x6A09E667))
    radius = ops.sqrt(-2.0 * ops.log(_uniform(first)))
    draws = radius * ops.cos(2.0 * math.pi * _uniform(second))
    return ops.reshape(draws, (-1, *shape))


def interpolate(first, second, weight):
    """Noise on the way from one draw to another, along the great circle through both, so that it stays as strong.

    Args:
        first, second: float arrays (..., h, w, channels).
        weight: float, or an array that broadcasts with the axes in front: 0 gives `first`, 1 gives `second`.

    Returns:
        float32 tensor, like `first`.

    Reference: Shoemake, Animating Rotation with Quaternion Curves, 1985.
    """
    first, second = (ops.cast(draw, "float32") for draw in (first, second))
    weight = ops.reshape(ops.cast(weight, "float32"), (*np.shape(weight), 1, 1, 1))
    axes = (-3, -2, -1)
    lengths = [ops.sqrt(ops.sum(ops.square(draw), axes, keepdims=True)) for draw in (first, second)]
    cosine = ops.sum(first * second, axes, keepdims=True) / (lengths[0] * lengths[1])
    angle = ops.arccos(ops.clip(cosine, -1.0 + 1e-6, 1.0 - 1e-6))
    return (ops.sin((1.0 - weight) * angle) * first + ops.sin(weight * angle) * second) / ops.sin(angle)
