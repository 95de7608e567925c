"""A layer on more than two axes, as one product of matrices."""

import keras
import numpy as np
import pytest
from keras import ops

from latentdiff.models.layers.open_batch import project, sides


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 5, 4)])
def test_project_gives_what_the_layer_gives(shape):
    dense = keras.layers.Dense(6, bias_initializer="normal")
    inputs = np.random.default_rng(0).normal(size=shape).astype("float32")
    np.testing.assert_allclose(project(dense, inputs), dense(inputs), atol=1e-6)


def test_sides_of_known_shapes_are_ints():
    assert sides(ops.zeros((2, 3, 4))) == (3, 4)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="graphs with open axes are TensorFlow's")
@pytest.mark.parametrize("open_shape", [(None, 3, 4), (None, None, 4)])
def test_a_graph_with_open_axes_takes_any_size(open_shape):
    import tensorflow as tf

    dense = keras.layers.Dense(6, bias_initializer="normal")
    dense.build((None, 4))
    traced = tf.function(lambda x: project(dense, x)).get_concrete_function(tf.TensorSpec(open_shape))
    for batch in (1, 5):
        inputs = np.random.default_rng(batch).normal(size=(batch, 3, 4)).astype("float32")
        np.testing.assert_allclose(traced(tf.constant(inputs)), dense(inputs), atol=1e-6)
