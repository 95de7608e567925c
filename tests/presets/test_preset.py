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
    part_answers,
    preset_pictures,
    tiny_text_to_image,
)

from latentdiff import TextToImage
from latentdiff.diffusion.samplers import DDIM
from latentdiff.presets import preset as presets

PRESET = GOLDEN / "jax_preset"


@pytest.fixture
def folder(tmp_path):
    """A preset that a test may spoil."""
    return shutil.copytree(PRESET, tmp_path / "tiny")


# === Contract ===


def test_save_and_load(tmp_path):
    settings = {"prediction_type": "noise", "min_snr_gamma": None, "context_dropout": 0.25}
    pipeline = tiny_text_to_image(**settings)
    pipeline.sampler = {"name": "ddim", "eta": 0.5}
    pipeline.guidance_rescale, pipeline.guidance_interval = 0.7, (0.5, float("inf"))
    before = arrays(part_answers(pipeline))
    pipeline.save_to_preset(tmp_path / "new" / "tiny")
    loaded = TextToImage.from_preset(str(tmp_path / "new" / "tiny"))
    assert_close(part_answers(loaded), before, 1e-6)
    assert loaded.model.get_config() == pipeline.model.get_config()
    for name in pipeline.defaults:
        assert getattr(loaded, name) == getattr(pipeline, name)
    assert "Infinity" not in (tmp_path / "new" / "tiny" / "task.json").read_text()  # which is no JSON


def test_settings_can_be_replaced():
    loaded = TextToImage.from_preset(PRESET, num_steps=9, sampler="ddpm")
    assert (loaded.num_steps, loaded.sampler, loaded.guidance_scale) == (9, "ddpm", 2.0)


def test_a_preset_from_before_a_setting_was_there(folder):
    settings = json.loads((folder / "task.json").read_text())
    for name in ("guidance_rescale", "guidance_interval"):
        settings.pop(name, None)
    (folder / "task.json").write_text(json.dumps(settings))
    loaded = TextToImage.from_preset(folder)
    assert (loaded.guidance_rescale, loaded.guidance_interval) == (0.0, None)


def test_a_sampler_that_json_can_not_hold(tmp_path):
    pipeline = TextToImage.from_preset(PRESET, sampler=DDIM(0.5))
    with pytest.raises(ValueError, match="sampler` must be a name.*Received"):
        pipeline.save_to_preset(tmp_path / "object")
    assert not (tmp_path / "object").exists()


def test_trains_on(tmp_path):
    """What was frozen is frozen after loading too, and what only training needs is not saved again."""
    pipeline = TextToImage.from_preset(PRESET)
    model = compile_quietly(pipeline.model)
    frozen, trained = model.autoencoder.get_weights() + model.text_encoder.get_weights(), model.unet.get_weights()
    history = model.fit({"images": normal(0, 4, 8, 8, 3), "captions": ["a cat"] * 4}, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert len(model.trainable_variables) == len(model.unet.trainable_variables) == len(trained)
    assert_close(model.autoencoder.get_weights() + model.text_encoder.get_weights(), frozen, 0.0)
    assert largest_change(trained, model.unet.get_weights()) > 0

    pipeline.save_to_preset(tmp_path)
    sizes = [(folder / "model.weights.h5").stat().st_size for folder in (PRESET, tmp_path)]
    assert sizes[1] < 1.02 * sizes[0]  # the optimizer's moments and averages would be three times the U-Net
    assert "compile_config" not in (tmp_path / "config.json").read_text()
    loaded = TextToImage.from_preset(tmp_path).model
    assert_close(loaded.unet.get_weights(), model.unet.get_weights(), 0.0)
    assert not loaded.compiled


# === Errors ===


def test_unknown_preset(folder, monkeypatch):
    monkeypatch.setenv("LATENTDIFF_PRESETS", str(folder.parent))
    assert presets.preset_folder("tiny") == folder
    with pytest.raises(ValueError, match=r"`preset` must be.*'tiny'.*Received: preset='tinny'"):
        TextToImage.from_preset("tinny")


@pytest.mark.parametrize("name", ["task.json", "model.weights.h5"])
def test_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"incomplete.*{name}"):
        TextToImage.from_preset(folder)


@pytest.mark.parametrize("name", ["task.json", "config.json"])
def test_damaged_file_is_named(folder, name):
    (folder / name).write_text((folder / name).read_text()[:-20])
    with pytest.raises(ValueError, match=f"damaged.*{name}"):
        TextToImage.from_preset(folder)


def test_missing_vocabulary_is_named(folder):
    shutil.rmtree(folder / "assets")
    with pytest.raises(ValueError, match="incomplete.*assets/tokenizer"):
        TextToImage.from_preset(folder)


def test_shortened_vocabulary_is_named(tmp_path):
    tiny_text_to_image().save_to_preset(tmp_path)
    path = tmp_path / presets.TOKENIZER_FOLDER / "vocabulary.txt"
    words = path.read_text().splitlines()
    path.write_text("\n".join(words[:-1]) + "\n")
    with pytest.raises(ValueError, match=f"damaged.*has {len(words) - 1} entries where {len(words)} belong"):
        TextToImage.from_preset(tmp_path)


# === Golden ===


@pytest.mark.slow
def test_preset_trained_under_jax():
    """Weights trained under JAX answer the same under either backend (made by golden/make_jax_preset.py)."""
    pipeline = TextToImage.from_preset(PRESET)
    with np.load(GOLDEN / "jax_preset.npz") as file:
        golden = dict(file)
    for name, answer in arrays(part_answers(pipeline)).items():
        assert golden[name].std() > 0.1
        np.testing.assert_allclose(answer, golden[name], atol=1e-5, err_msg=name)
    levels = np.abs(preset_pictures(pipeline).astype(int) - golden["pictures"].astype(int))
    assert levels.max() <= 2
    assert golden["pictures"].std() > 10


def test_layout():
    """The folder that KerasHub's own presets have."""
    folder = PRESET
    assert (folder / presets.TOKENIZER_FOLDER / "vocabulary.txt").is_file()
    config = json.loads((folder / "config.json").read_text())
    assert config["registered_name"] == "latentdiff>LatentDiffusion"
    metadata = json.loads((folder / "metadata.json").read_text())
    assert {"keras_version", "keras_hub_version", "parameter_count", "date_saved"} <= set(metadata)
    assert keras.saving.get_registered_object("latentdiff>LatentDiffusion") is not None
