import keras
import numpy as np
from harness import arrays, normal

from latentdiff.models.compilation import compile_function


def test_it_sees_changed_weights_and_other_shapes():
    dense = keras.layers.Dense(2)
    model = keras.Sequential([keras.Input((3,)), dense])
    runs = []

    def double(inputs):
        runs.append(inputs.shape)  # seen by Python only while the function is compiled
        return 2.0 * model(inputs)

    compiled = compile_function(double, model)
    for batch in (1, 4):
        inputs = normal(batch, batch, 3)
        np.testing.assert_allclose(arrays(compiled(inputs)), 2 * inputs @ arrays(dense.kernel), rtol=1e-5)
    dense.kernel.assign(np.ones((3, 2)))
    count = len(runs)
    assert count == (2 if keras.backend.backend() == "jax" else 1)
    np.testing.assert_allclose(arrays(compiled(inputs)), 2 * inputs @ np.ones((3, 2)), rtol=1e-5)
    assert len(runs) == count


def test_texts_of_other_lengths_are_compiled_once_more():
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.Dense(2)])
    runs = []

    def embed(inputs, factor):
        runs.append(inputs["features"].shape)
        return factor * model(inputs["features"])

    compiled = compile_function(embed, model)
    for batch, length in ((1, 2), (3, 2), (2, 5), (4, 7), (1, 9)):
        inputs = {"features": normal(batch, batch, length, 3)}
        np.testing.assert_allclose(arrays(compiled(inputs, 2.0)), 2.0 * arrays(model(inputs["features"])), rtol=1e-5)
    if keras.backend.backend() == "tensorflow":
        assert [tuple(shape) for shape in runs] == [(None, 2, 3), (None, None, 3)]
