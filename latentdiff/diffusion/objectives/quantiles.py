"""Gaussian numbers from uniform ones."""

import math

from keras import ops

SMALLEST = 1e-6  # nothing is drawn from the last millionth at either end


def normal_quantiles(quantiles):
    """The values below which a standard Gaussian lies with these probabilities, float32 (batch,) in [0, 1]."""
    quantiles = ops.clip(quantiles, SMALLEST, 1.0 - SMALLEST)
    return math.sqrt(2.0) * ops.erfinv(2.0 * quantiles - 1.0)
