import pytest
from export.saved_model.serving_requests import LEVELS, expected, mixed
from harness import gap, needs_tensorflow, normal, tiny_text_to_image

from latentdiff.export.saved_model.stored_weights import StoredWeights

pytestmark = needs_tensorflow


@pytest.fixture(scope="module")
def worded():
    pipeline = tiny_text_to_image()
    pipeline.model.text_encoder.words.insert("<x>", 3.0 * normal(0, 3, 12))
    return pipeline


@pytest.mark.slow
def test_a_served_model_knows_new_words(worded, tmp_path):
    import tensorflow as tf

    worded.export(tmp_path / "model" / "1")
    loaded = tf.saved_model.load(str(tmp_path / "model" / "1"))
    request = {**mixed(3), "prompts": ["a <x> and flat", "the cat", "<x><x>"]}
    images = loaded.signatures["serving_default"](**{name: tf.constant(value) for name, value in request.items()})
    assert gap(images["images"].numpy(), expected(worded, request)) <= LEVELS
    worded.model.text_encoder.words["<x>"].vectors.assign(normal(1, 3, 12))
    assert gap(images["images"].numpy(), expected(worded, request)) > 10


def test_what_is_stored_has_the_vectors(worded):
    vectors = worded.model.text_encoder.words["<x>"].vectors
    weights = StoredWeights(worded.model)
    stored = dict(zip(map(id, weights.originals), weights.variables, strict=True))
    assert gap(1e4 * stored[id(vectors)].numpy(), 1e4 * vectors.numpy()) == 0


def test_formats_without_place_for_words_refuse_them(worded, tmp_path):
    for export in (worded.export_litert, worded.export_diffusers):
        with pytest.raises(ValueError, match=r"`text_encoder.words` must be empty for this format.*\['<x>'\]"):
            export(tmp_path / "folder")
