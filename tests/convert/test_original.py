"""A single file gives the model that the folder gives."""

import json

import numpy as np
import pytest
from convert.tiny_folders import files, golden, single_file, write_folder, write_weights
from harness import first_fast

from latentdiff.convert.diffusers import load_diffusers

SPARE = {
    "betas": np.ones(3, "float32"),
    "alphas_cumprod_prev": np.ones(3, "float32"),
    "model_ema.diffusion_modeltime_embed0bias": np.ones(3, "float32"),
    "model_ema.num_updates": np.ones((), "float32"),
    "cond_stage_model.model.text_projection": np.ones((16, 16), "float32"),
    "cond_stage_model.model.logit_scale": np.ones((), "float32"),
}


SPARE_XL = {"conditioner.embedders.1.model.logit_scale": np.ones((), "float32"), "betas": np.ones(3, "float32")}


@pytest.mark.slow
@pytest.mark.parametrize("version", first_fast(["sd2", "xl", "sd1"]))
def test_bit_equal_to_the_folder(version, tmp_path):
    answers = golden(version)
    folder = write_folder(tmp_path / "folder", answers)
    state = {**single_file(answers), **(SPARE_XL if version == "xl" else SPARE)}
    if version == "sd2":  # the last layer of OpenCLIP, which Stable Diffusion 2 leaves out
        layers = json.loads(answers["text_encoder/config"])["num_hidden_layers"]
        state[f"cond_stage_model.model.transformer.resblocks.{layers}.ln_1.weight"] = np.ones(16, "float32")
    write_weights(tmp_path, "all", state)
    model, settings = load_diffusers(folder)
    for part, stem in files(answers).items():  # weights of the folder are not needed
        (folder / part / f"{stem}.safetensors").unlink()
    other, other_settings = load_diffusers(folder, weights_file=tmp_path / "all.safetensors")
    assert settings == other_settings
    for mine, theirs in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=mine.path)


@pytest.mark.parametrize(
    "name, message",
    [
        ("control_model.input_hint_block.0.weight", "no place for: control_model.input_hint_block.0.weight"),
        ("model.diffusion_model.label_emb.0.0.weight", "unet of .* no place for: add_embedding.linear_1.weight"),
    ],
)
def test_tensors_of_other_models(name, message, tmp_path):
    answers = golden("sd1")
    folder = write_folder(tmp_path / "folder", answers)
    write_weights(tmp_path, "all", {**single_file(answers), name: np.ones(3, "float32")})
    with pytest.raises(ValueError, match=message):
        load_diffusers(folder, weights_file=tmp_path / "all.safetensors")
