import numpy as np
import pytest
from harness import needs_tensorflow, tiny_text_to_image

from latentdiff.export.saved_model.stored_weights import StoredWeights, weights_of

pytestmark = needs_tensorflow


@pytest.fixture(scope="module")
def pipeline():
    return tiny_text_to_image()


def test_all_that_pictures_depend_on_is_stored(pipeline):
    """A model in which every other weight is broken still makes the same image."""
    stored = {variable.path for variable in weights_of(pipeline.model)}
    before = pipeline.generate("a cat", seed=1)
    others = [variable for variable in pipeline.model.variables if variable.path not in stored]
    kept = [variable.numpy() for variable in others]
    for variable in others:
        variable.assign(np.zeros(variable.shape) + 77)
    np.testing.assert_array_equal(pipeline.generate("a cat", seed=1), before)
    for variable, value in zip(others, kept, strict=True):
        variable.assign(value)


@pytest.mark.parametrize("dtype, bits", [("float16", 11), ("bfloat16", 8)])
def test_half_precision_rounds_and_the_model_stays(pipeline, dtype, bits):
    before = [variable.numpy() for variable in weights_of(pipeline.model)]
    weights = StoredWeights(pipeline.model, dtype)
    assert {variable.dtype.name for variable in weights.variables} == {dtype}
    with weights.assigned():
        for variable, value in zip(weights_of(pipeline.model), before, strict=True):
            np.testing.assert_allclose(variable.numpy(), value, rtol=2.0**-bits, atol=1e-6)
    for variable, value in zip(weights_of(pipeline.model), before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_in_place_weights_are_what_the_model_computes_with(pipeline):
    weights = StoredWeights(pipeline.model)
    latents = np.ones((1, 4, 4, 3), "float32")
    before = pipeline.model.autoencoder.decode(latents)
    for variable in weights.variables:
        variable.assign(np.zeros(variable.shape, "float32"))
    with weights.in_place():
        inside = np.asarray(pipeline.model.autoencoder.decode(latents))
    assert not inside.any()
    np.testing.assert_array_equal(pipeline.model.autoencoder.decode(latents), before)
