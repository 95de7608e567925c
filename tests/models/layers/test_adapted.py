import keras
import numpy as np
import pytest
from harness import arrays, assert_close, normal
from keras import ops

from latentdiff.models.layers.adapted import adapt, check_plain, kernel_matrix_shape, unadapt


class Fixed:
    """An adapter that adds given matrices."""

    def __init__(self, matrix):
        self.matrix = matrix

    def delta(self, path):
        return ops.convert_to_tensor(self.matrix)


LAYERS = {
    "dense with an activation": (keras.layers.Dense(5, activation="gelu"), (2, 7, 4)),
    "strided convolution": (keras.layers.Conv2D(5, 3, strides=2, data_format="channels_last"), (2, 9, 8, 4)),
    "grouped convolution": (keras.layers.Conv2D(6, 3, groups=2, data_format="channels_last"), (2, 5, 5, 4)),
    "heads": (keras.layers.EinsumDense("abc,cde->abde", (None, 2, 3)), (2, 7, 4)),
    "joined heads": (keras.layers.EinsumDense("abcd,cde->abe", (None, 6)), (2, 7, 2, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_it_computes_with_the_sum_of_kernels_and_afterwards_as_before(name):
    """Compared with a copy whose kernel is that sum."""
    layer, shape = LAYERS[name]
    inputs = normal(0, *shape)
    before, config = layer(inputs), layer.get_config()
    copy = type(layer).from_config(config)
    copy.build(shape)
    deltas = [0.1 * normal(seed, *kernel_matrix_shape(layer)) for seed in (1, 2)]
    copy.set_weights(layer.get_weights())
    copy.kernel.assign(layer.kernel + np.reshape(sum(deltas), layer.kernel.shape))
    adapters = [Fixed(delta) for delta in deltas]
    for adapter in adapters:
        adapt(layer, adapter, name)
    assert_close(layer(inputs), copy(inputs), 1e-5)
    assert np.abs(arrays(layer(inputs)) - arrays(before)).max() > 1e-2
    assert keras.saving.serialize_keras_object(layer)["class_name"] == type(copy).__name__
    for adapter in adapters:
        unadapt(layer, adapter)
    assert type(layer) is type(copy) and layer.get_config() == config
    assert_close(layer(inputs), before, 0.0)


def test_a_saved_model_holds_the_kernel_without_adapters(tmp_path):
    layer = keras.layers.Dense(5)
    model = keras.Sequential([keras.Input((4,)), layer])
    inputs = normal(0, 2, 4)
    before = model(inputs)
    adapt(layer, Fixed(normal(1, 4, 5)), "dense")
    model.save(tmp_path / "model.keras")
    assert_close(keras.saving.load_model(tmp_path / "model.keras")(inputs), before, 1e-6)


def test_what_can_not_be_adapted_is_refused():
    layer = keras.layers.Dense(4)
    layer.build((None, 4))
    layer.quantize("int8")
    with pytest.raises(ValueError, match="must not be quantized. Received: a/b in int8"):
        check_plain(layer, "a/b")
    layer = keras.layers.EinsumDense("ab,cb->ac", 3)
    layer.build((None, 4))
    with pytest.raises(ValueError, match="`equation` must sum over the first axes"):
        kernel_matrix_shape(layer)
