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
