import keras
import numpy as np
import pytest
from harness import arrays, assert_close, check_layer, normal, randomize

from latentdiff.models.layers import GroupNorm


@pytest.mark.parametrize("shape", [(2, 4, 3, 8), (2, 5, 8)])
def test_layer(shape):
    check_layer(lambda dtype: GroupNorm(4, 1e-6, dtype=dtype), normal(0, *shape))


def test_groups_must_divide_the_channels():
    with pytest.raises(ValueError, match="`groups` must divide the number of channels. Received: groups=3, channels=8"):
        GroupNorm(3)(normal(0, 1, 2, 2, 8))


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_groups_have_mean_0_and_deviation_1(groups):
    outputs = arrays(GroupNorm(groups, 1e-9)(3.0 + 2.0 * normal(0, 2, 6, 6, 8)))
    grouped = outputs.reshape(2, 36, groups, 8 // groups)
    np.testing.assert_allclose(grouped.mean(axis=(1, 3)), 0.0, atol=1e-5)
    np.testing.assert_allclose(grouped.std(axis=(1, 3)), 1.0, atol=1e-5)


def test_fewer_channels_than_groups():
    """Then each channel is a group of its own."""
    inputs = normal(0, 2, 6, 6, 4)
    assert_close(GroupNorm(32)(inputs), GroupNorm(4)(inputs), 0.0)


@pytest.mark.parametrize("epsilon", [1e-5, 0.1])
def test_keras(epsilon):
    """The layer of Keras, an implementation of its own, with the same weights."""
    inputs = 0.3 * normal(0, 2, 4, 4, 8)
    layer, other = GroupNorm(4, epsilon), keras.layers.GroupNormalization(4, epsilon=epsilon)
    layer(inputs), other(inputs)
    randomize(layer)
    other.gamma.assign(layer.scale)
    other.beta.assign(layer.offset)
    assert_close(layer(inputs), other(inputs), 1e-5)


def test_half_precision_computes_in_full():
    """The mean of large bfloat16 numbers would lose what distinguishes them."""
    inputs = (100.0 + normal(0, 1, 16, 16, 8)).astype("float32")
    inputs = arrays(keras.ops.cast(keras.ops.cast(inputs, "bfloat16"), "float32"))  # representable in both
    full, half = GroupNorm(4)(inputs), GroupNorm(4, dtype="mixed_bfloat16")(inputs)
    assert keras.backend.standardize_dtype(half.dtype) == "bfloat16"
    assert_close(keras.ops.cast(half, "float32"), full, 1e-2)


def test_sums_stay_in_the_range_of_float16():
    """A runtime that computes in float16 adds up 128 numbers at most, not 16,384: simulated, nothing is infinite."""
    inputs = (6.0 * normal(0, 1, 128, 128, 4)).astype("float16")
    with np.errstate(over="ignore"):
        one_by_one = np.square(inputs).sum(axis=(1, 2), dtype="float16")
        rows = np.square(inputs).sum(axis=2, dtype="float16") / np.float16(128)
        steps = rows.sum(axis=1, dtype="float16") / np.float16(128)
    assert np.isinf(one_by_one).all()
    np.testing.assert_allclose(steps, 36.0, rtol=0.1)
    sizes = []
    original = keras.ops.mean

    def watched(x, axis=None, keepdims=False):
        sizes.append(np.prod([x.shape[one] for one in np.atleast_1d(axis)]))
        return original(x, axis=axis, keepdims=keepdims)

    layer = GroupNorm(2)
    layer.build(inputs.shape)
    keras.ops.mean = watched
    try:
        layer.call(keras.ops.convert_to_tensor(inputs.astype("float32")))
    finally:
        keras.ops.mean = original
    assert max(sizes) == 128 and len(sizes) == 6
