import numpy as np
import pytest
from harness import arrays, assert_close, check_layer, normal, randomize

from latentdiff.models.layers import Downsample, Upsample


@pytest.mark.parametrize("padding", ["both", "end"])
def test_downsample(padding):
    check_layer(lambda dtype: Downsample(5, padding, dtype=dtype), normal(0, 2, 6, 4, 3))


def test_upsample():
    check_layer(lambda dtype: Upsample(5, dtype=dtype), normal(0, 2, 2, 3, 3))


def test_wrong_padding():
    with pytest.raises(ValueError, match="`padding` must be 'both' or 'end'. Received: padding='same'"):
        Downsample(4, "same")


def numpy_conv(images, kernel, stride, before, after):
    images = np.pad(images, ((0, 0), (before, after), (before, after), (0, 0)))
    height, width = ((side - 3) // stride + 1 for side in images.shape[1:3])
    result = np.zeros((len(images), height, width, kernel.shape[-1]))
    for row in range(height):
        for column in range(width):
            square = images[:, row * stride : row * stride + 3, column * stride : column * stride + 3]
            result[:, row, column] = np.einsum("bijc,ijcd->bd", square, kernel)
    return result


@pytest.mark.parametrize("padding, before", [("both", 1), ("end", 0)])
def test_where_the_padding_is(padding, before):
    layer, images = Downsample(2, padding), normal(0, 1, 6, 6, 3)
    layer(images)
    randomize(layer)
    layer.conv.bias.assign([0.0, 0.0])
    assert_close(layer(images), numpy_conv(images, arrays(layer.conv.kernel), 2, before, 1), 1e-5)


def test_upsampling_repeats_pixels():
    layer, images = Upsample(2), normal(0, 2, 3, 2, 3)
    layer(images)
    randomize(layer)
    layer.conv.bias.assign([0.0, 0.0])
    repeated = images.repeat(2, axis=1).repeat(2, axis=2)
    assert_close(layer(images), numpy_conv(repeated, arrays(layer.conv.kernel), 1, 1, 1), 1e-5)


def test_two_positions_become_one():
    """A side of two is smaller than the kernel, but for the padding."""
    assert Downsample(4)(normal(0, 1, 2, 2, 3)).shape == (1, 1, 1, 4)
