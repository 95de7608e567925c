"""Averages of the weights whose length grows with training, so that the best length can be chosen afterwards.

Reference: Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models, 2024, arXiv:2312.02696,
section 3.
"""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="latentdiff")
class PowerAveragedAdamW(keras.optimizers.AdamW):
    """AdamW that keeps averages of the weights by power functions, beside the exponential one of `use_ema`.

    Args:
        average_lengths: floats in (0, 0.28), one average each: its standard deviation in time, as a share of the
            training so far. 0.1 is long, 0.01 short.
        kwargs: those of `keras.optimizers.AdamW`.

    Raises:
        ValueError: lengths out of range.
    """

    def __init__(self, *args, average_lengths=(0.05, 0.1), **kwargs):
        super().__init__(*args, **kwargs)
        self.average_lengths = tuple(average_lengths)
        self.exponents = [exponent(length) for length in self.average_lengths]

    def build(self, variables):
        super().build(variables)
        self.power_averages = [
            self.add_optimizer_variables(variables, f"power_average_{index}") for index in range(len(self.exponents))
        ]

    def apply(self, grads, trainable_variables=None):
        super().apply(grads, trainable_variables)
        step = ops.cast(self._iterations, "float32")  # this one counted
        for gamma, averages in zip(self.exponents, self.power_averages, strict=True):
            kept = (1.0 - 1.0 / step) ** (gamma + 1.0)
            for variable, average in zip(self._trainable_variables, averages, strict=True):
                average.assign(kept * average + (1.0 - kept) * ops.cast(variable, average.dtype))

    def get_config(self):
        return {**super().get_config(), "average_lengths": self.average_lengths}


def exponent(length):
    """The gamma of the power function (t / T) ** gamma whose standard deviation is `length` of T.

    Raises:
        ValueError: a length that no such function has.
    """
    if not 0.0 < length < 12.0**-0.5:  # that of the plain mean, gamma 0
        raise ValueError(f"`length` must lie between 0 and 0.288. Received: length={length!r}")
    # length = sqrt(gamma + 1) / ((gamma + 2) sqrt(gamma + 3)), squared and multiplied out; equation 17 of the paper.
    return float(np.roots([1.0, 7.0, 16.0 - length**-2, 12.0 - length**-2]).real.max())


def mixing_coefficients(ends, lengths, end, length):
    """By what to multiply averages, so that their sum is nearly that of another length.

    Args:
        ends: (n,) steps after which each of n averages was kept.
        lengths: (n,) their lengths.
        end, length: those of the average that is wanted; `end` is at most the largest of `ends`.

    Returns:
        float64 (n,), least squares over time: some are below 0, and they sum to 1 or nearly so.
    """
    ends, gammas = np.asarray(ends, "float64"), np.array([exponent(each) for each in lengths])
    overlaps = _overlap(ends[:, None], gammas[:, None], ends[None], gammas[None])
    return np.linalg.solve(overlaps, _overlap(ends, gammas, float(end), exponent(length)))


def _overlap(end, gamma, other_end, other_gamma):
    """The integral over time of the product of two power functions, each of mass 1 up to its end."""
    shorter = np.minimum(end, other_end)
    shares = (gamma + 1.0) * np.log(shorter / end) + (other_gamma + 1.0) * np.log(shorter / other_end)
    return (gamma + 1.0) * (other_gamma + 1.0) / ((gamma + other_gamma + 1.0) * shorter) * np.exp(shares)
