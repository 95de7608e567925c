import numpy as np
import pytest
from harness import arrays, assert_close, check_layer, normal, randomize

from latentdiff.models.layers import Attention
from latentdiff.models.layers.attention import HIDDEN


def make(dtype=None, num_heads=2, use_bias=True):
    return Attention(num_heads, use_bias, dtype=dtype)


# === Contract ===


@pytest.mark.parametrize("inputs", [(normal(0, 2, 5, 8),), (normal(0, 2, 5, 8), normal(1, 2, 3, 6))])
def test_layer(inputs):
    check_layer(make, *inputs)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="`num_heads` must divide the width. Received: num_heads=3, width=8"):
        Attention(3)(normal(0, 1, 2, 8))


@pytest.mark.parametrize("use_bias", [False, True])
def test_bias(use_bias):
    layer = make(use_bias=use_bias)
    layer(normal(0, 1, 2, 8))
    assert (layer.query.bias is not None) == use_bias
    assert layer.out.bias is not None


# === Laws ===


def numpy_attention(layer, inputs, context, mask):
    """One row, one head, one query at a time."""

    def dense(layer, x):
        return x @ arrays(layer.kernel).astype("float64") + (0.0 if layer.bias is None else arrays(layer.bias))

    query, key, value = dense(layer.query, inputs), dense(layer.key, context), dense(layer.value, context)
    size = inputs.shape[-1] // layer.num_heads
    result = np.zeros_like(query)
    for row in range(len(inputs)):
        for head in range(layer.num_heads):
            part = slice(head * size, (head + 1) * size)
            for place in range(inputs.shape[1]):
                scores = key[row, :, part] @ query[row, place, part] / np.sqrt(size)
                weights = np.exp(scores) * mask[row]
                result[row, place, part] = weights @ value[row, :, part] / weights.sum()
    return dense(layer.out, result)


@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_formula(num_heads):
    layer = make(num_heads=num_heads)
    inputs, context = normal(0, 2, 5, 8), normal(1, 2, 4, 6)
    mask = np.array([[True, True, True, True], [True, False, True, False]])
    layer(inputs, context)
    randomize(layer, scale=1.0)
    expected = numpy_attention(layer, inputs.astype("float64"), context.astype("float64"), mask)
    assert_close(layer(inputs, context, mask), expected, 1e-5)
    assert np.abs(expected - arrays(layer(inputs, context))).max() > 1e-3


def test_hidden_keys_never_matter():
    layer, inputs, context = make(), normal(0, 1, 5, 8), normal(1, 1, 4, 6)
    layer(inputs, context)
    mask = np.array([[True, False, True, False]])
    garbage = np.where(mask[:, :, None], context, 1e6 * normal(2, 1, 4, 6)).astype("float32")
    np.testing.assert_array_equal(arrays(layer(inputs, garbage, mask)), arrays(layer(inputs, context, mask)))
    assert_close(layer(inputs, context[:, ::2]), layer(inputs, context, mask), 1e-6)


def test_order_of_keys_does_not_matter():
    layer, inputs, context = make(), normal(0, 1, 5, 8), normal(1, 1, 4, 6)
    assert_close(layer(inputs, context), layer(inputs, context[:, ::-1].copy()), 1e-6)


@pytest.mark.parametrize("use_bias", [False, True])
def test_nothing_is_attended_to_where_all_keys_are_hidden(use_bias):
    layer, inputs, context = Attention(2, use_bias), normal(0, 2, 5, 8), normal(1, 2, 4, 6)
    layer(inputs, context)
    randomize(layer)
    mask = np.array([[True, False, True, False], [False] * 4])
    received = arrays(layer(inputs, context, mask))
    np.testing.assert_allclose(received[1], np.broadcast_to(arrays(layer.out.bias.value), (5, 8)), atol=1e-6)
    assert np.abs(received[0] - received[1]).max() > 1e-2


def test_every_constant_fits_float16():
    assert float(np.float16(HIDDEN)) < np.inf
    assert np.exp(np.float32(-HIDDEN)) == 0.0
