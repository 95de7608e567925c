"""Text features that are encoded once."""

import numpy as np
import pytest
from harness import assert_close, tiny_text_encoder, tiny_text_to_image
from tiny_run import losses, write_experiment

from latentdiff.data import shard_cache
from latentdiff.recipes.text_features import cached_features, features_key

TEXTS = ["a red apple", "a cat", "", "the blue rocket", "a small cat"]


@pytest.fixture(scope="module")
def encoder():
    return tiny_text_encoder()


def test_features_are_those_of_the_text_encoder(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_cache, "SHARD_ROWS", 2)
    members = cached_features(tmp_path, encoder, TEXTS)
    for name, values in encoder.condition(encoder.tokenize(TEXTS)).items():
        assert_close(members[name][:], values, 1e-5)
    (folder,) = tmp_path.glob("text_features-*")
    (folder / "00001/context.npy").rename(tmp_path / "kept.npy")
    (folder / "00001/context_mask.npy").unlink()
    (folder / "00001").rmdir()
    written = (folder / "00000").stat().st_mtime_ns
    cached_features(tmp_path, encoder, TEXTS)
    np.testing.assert_array_equal(np.load(folder / "00001/context.npy"), np.load(tmp_path / "kept.npy"))
    assert (folder / "00000").stat().st_mtime_ns == written, "only what was missing is encoded"


def test_the_key_is_that_of_the_encoder_and_the_texts(encoder):
    key = features_key(encoder, TEXTS)
    assert key == features_key(encoder, TEXTS) != features_key(encoder, TEXTS[1:])
    assert features_key(tiny_text_encoder(sequence_length=9), TEXTS) != key
    changed = tiny_text_encoder()
    changed.set_weights([weight + 1.0 for weight in changed.get_weights()])
    assert features_key(changed, TEXTS) != key


def test_an_encoder_that_is_trained_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`cache_text` needs a text encoder that is not trained"):
        cached_features(tmp_path, tiny_text_encoder(trainable=True), TEXTS)


def test_training_is_the_same_with_cached_features(stage, folder, tmp_path, eagerly):
    tiny_text_to_image().save_to_preset(tmp_path / "start")
    told = []
    for cache_text in (False, True):
        write_experiment(tmp_path / "experiment.py", 1e-2, passes=3, epochs=1, cache_text=cache_text)
        if not cache_text:
            stage("latents", "--data", folder, "--init", tmp_path / "start")
        stage("diffusion", "--init", tmp_path / "start")
        (tmp_path / "run/latent_diffusion").rename(tmp_path / f"log_{cache_text}")
        told.append(losses(tmp_path / f"log_{cache_text}/log.csv"))
    np.testing.assert_allclose(*told, rtol=1e-4)
    assert len(list((tmp_path / "run").glob("text_features-*"))) == 1
