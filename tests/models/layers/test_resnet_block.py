import numpy as np
import pytest
from harness import arrays, check_layer, normal, randomize

from latentdiff.models.layers import ResnetBlock


@pytest.mark.parametrize("inputs", [(normal(0, 2, 4, 3, 8),), (normal(0, 2, 4, 3, 4), normal(1, 2, 6))])
def test_layer(inputs):
    check_layer(lambda dtype: ResnetBlock(8, groups=4, dtype=dtype), *inputs)


def test_fresh_block_is_the_identity():
    inputs = normal(0, 2, 4, 4, 8)
    np.testing.assert_array_equal(arrays(ResnetBlock(8, groups=4)(inputs, normal(1, 2, 6))), inputs)


def test_shortcut_only_where_the_width_changes():
    for width, expected in ((8, False), (12, True)):
        layer = ResnetBlock(width, groups=4)
        layer(normal(0, 1, 2, 2, 8))
        assert (layer.shortcut is not None) == expected
        assert layer.time_dense is None


def test_time_matters_for_its_own_row():
    layer, inputs, time = ResnetBlock(8, groups=4), normal(0, 2, 4, 4, 8), normal(1, 2, 6)
    layer(inputs, time)
    randomize(layer)
    change = np.abs(arrays(layer(inputs, time + np.array([[1.0], [0.0]], "float32"))) - arrays(layer(inputs, time)))
    assert change[0].max() > 1e-2
    assert change[1].max() < 1e-6


def test_dropout_only_while_training():
    layer, inputs = ResnetBlock(8, groups=4, dropout=0.5), normal(0, 1, 4, 4, 8)
    layer(inputs)
    randomize(layer)
    np.testing.assert_array_equal(arrays(layer(inputs, training=False)), arrays(layer(inputs)))
    assert np.abs(arrays(layer(inputs, training=True)) - arrays(layer(inputs))).max() > 1e-2
