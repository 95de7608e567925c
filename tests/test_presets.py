import json
import shutil

import keras
import numpy as np
import pytest
from harness import (
    GOLDEN,
    arrays,
    assert_close,
    compile_quietly,
    largest_change,
    normal,
    preset_answers,
    tiny_text_to_image,
)

from latentdiff import TextToImage, presets
from latentdiff.samplers import DDIM

# === Contract ===


def test_save_and_load(tmp_path):
    pipeline = tiny_text_to_image(prediction_type="noise", min_snr_gamma=None, context_dropout=0.25)
    before = arrays(preset_answers(pipeline))
    pipeline.save_to_preset(tmp_path / "new" / "tiny")
    loaded = TextToImage.from_preset(str(tmp_path / "new" / "tiny"))
    after = arrays(preset_answers(loaded))
    for name in ("context", "prediction", "latents", "decoded"):
        assert_close(after[name], before[name], 1e-6)
    np.testing.assert_array_equal(after["pictures"], before["pictures"])
    assert loaded.model.get_config() == pipeline.model.get_config()
    assert (loaded.image_size, loaded.num_steps, loaded.guidance_scale) == ((8, 8), 3, 2.0)


def test_settings_can_be_replaced(tmp_path):
    tiny_text_to_image().save_to_preset(tmp_path)
    loaded = TextToImage.from_preset(tmp_path, num_steps=9, sampler="ddpm")
    assert (loaded.num_steps, loaded.sampler, loaded.guidance_scale) == (9, "ddpm", 2.0)


def test_sampler_with_arguments(tmp_path):
    pipeline = tiny_text_to_image()
    pipeline.sampler = {"name": "ddim", "eta": 0.5}
    pipeline.save_to_preset(tmp_path / "dict")
    loaded = TextToImage.from_preset(tmp_path / "dict")
    np.testing.assert_array_equal(loaded.generate("a cat", seed=3), pipeline.generate("a cat", seed=3))
    pipeline.sampler = DDIM(0.5)
    with pytest.raises(ValueError, match="sampler` must be a name.*Received"):
        pipeline.save_to_preset(tmp_path / "object")
    assert not (tmp_path / "object").exists()


def test_what_only_training_needs_is_left_out(tmp_path):
    """Half a preset would be the optimizer's moments and averages otherwise."""
    pipeline = tiny_text_to_image()
    pipeline.save_to_preset(tmp_path / "fresh")
    compile_quietly(pipeline.model)
    data = {"latents": normal(0, 4, 4, 4, 3), "captions": ["a cat"] * 4}
    pipeline.model.fit(data, batch_size=2, verbose=0)
    pipeline.save_to_preset(tmp_path / "trained")
    sizes = [(tmp_path / name / "model.weights.h5").stat().st_size for name in ("fresh", "trained")]
    assert sizes[1] < 1.02 * sizes[0]
    assert "compile_config" not in (tmp_path / "trained" / "config.json").read_text()
    loaded = TextToImage.from_preset(tmp_path / "trained")
    assert_close(loaded.model.unet.get_weights(), pipeline.model.unet.get_weights(), 0.0)
    assert not loaded.model.compiled


def test_trains_on(tmp_path):
    """What was frozen is frozen after loading too: the optimizer gets the weights of the U-Net and no others."""
    tiny_text_to_image().save_to_preset(tmp_path)
    model = compile_quietly(TextToImage.from_preset(tmp_path).model)
    frozen = model.autoencoder.get_weights() + model.text_encoder.get_weights()
    trained = model.unet.get_weights()
    history = model.fit({"images": normal(0, 4, 8, 8, 3), "captions": ["a cat"] * 4}, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert len(model.trainable_variables) == len(model.unet.trainable_variables) == len(trained)
    assert_close(model.autoencoder.get_weights() + model.text_encoder.get_weights(), frozen, 0.0)
    assert largest_change(trained, model.unet.get_weights()) > 0


# === Errors ===


def test_unknown_preset(tmp_path, monkeypatch):
    tiny_text_to_image().save_to_preset(tmp_path / "shelf" / "tiny")
    monkeypatch.setenv("LATENTDIFF_PRESETS", str(tmp_path / "shelf"))
    assert presets.preset_folder("tiny") == tmp_path / "shelf" / "tiny"
    with pytest.raises(ValueError, match=r"`preset` must be.*'tiny'.*Received: preset='tinny'"):
        TextToImage.from_preset("tinny")


@pytest.mark.parametrize("name", ["task.json", "model.weights.h5"])
def test_missing_file_is_named(tmp_path, name):
    tiny_text_to_image().save_to_preset(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=f"incomplete.*{name}"):
        TextToImage.from_preset(tmp_path)


@pytest.mark.parametrize("name", ["task.json", "config.json"])
def test_damaged_file_is_named(tmp_path, name):
    tiny_text_to_image().save_to_preset(tmp_path)
    (tmp_path / name).write_text((tmp_path / name).read_text()[:-20])
    with pytest.raises(ValueError, match=f"damaged.*{name}"):
        TextToImage.from_preset(tmp_path)


def test_missing_vocabulary_is_named(tmp_path):
    tiny_text_to_image().save_to_preset(tmp_path)
    shutil.rmtree(tmp_path / "assets")
    with pytest.raises(ValueError, match="vocabulary|assets"):
        TextToImage.from_preset(tmp_path)


# === Golden ===


def test_preset_trained_under_jax():
    """Weights trained under JAX answer the same under either backend (made by golden/make_jax_preset.py)."""
    pipeline = TextToImage.from_preset(GOLDEN / "jax_preset")
    with np.load(GOLDEN / "jax_preset.npz") as file:
        golden = dict(file)
    answers = arrays(preset_answers(pipeline))
    for name in ("context", "prediction", "latents", "decoded"):
        assert golden[name].std() > 0.1
        np.testing.assert_allclose(answers[name], golden[name], atol=1e-5, err_msg=name)
    levels = np.abs(answers["pictures"].astype(int) - golden["pictures"].astype(int))
    assert levels.max() <= 2
    assert golden["pictures"].std() > 10


def test_layout():
    """The folder that KerasHub's own presets have."""
    folder = GOLDEN / "jax_preset"
    assert (folder / presets.TOKENIZER_FOLDER / "vocabulary.txt").is_file()
    config = json.loads((folder / "config.json").read_text())
    assert config["registered_name"] == "latentdiff>LatentDiffusion"
    metadata = json.loads((folder / "metadata.json").read_text())
    assert {"keras_version", "keras_hub_version", "parameter_count", "date_saved"} <= set(metadata)
    assert keras.saving.get_registered_object("latentdiff>LatentDiffusion") is not None
