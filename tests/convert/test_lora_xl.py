"""Golden: LoRA files for Stable Diffusion XL do here what they do in diffusers, under all names of the layers."""

import json

import numpy as np
import pytest
from convert.tiny_folders import golden, write_folder
from golden import weights
from golden.clip_words import NEGATIVE, PROMPT
from harness import GOLDEN, arrays, assert_close, randomize
from safetensors.numpy import load_file, save_file

from latentdiff import TextToImage
from latentdiff.convert.lora_files import load_lora, save_lora
from latentdiff.convert.lora_names import layer_names

EVERYTHING = {"targets": ("linear", "convolution"), "parts": ("unet", "text_encoder")}


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The inputs, what was recorded with the LoRA fused, and the pipeline of the same model."""
    with np.load(GOLDEN / "lora_xl.npz") as file:
        recorded = {name: file[name] for name in file.files}
    answers = golden("xl")
    return answers, recorded, TextToImage.from_diffusers(write_folder(tmp_path_factory.mktemp("xl"), answers))


def answer(model, answers):
    """Text features, and the prediction for them, of the two prompts that were recorded."""
    conditioning = arrays(model.condition(model.text_encoder.tokenize([PROMPT, NEGATIVE])))
    inputs = {name: answers[name] for name in ("noisy_latents", "timesteps", "image_sizes")}
    return {**conditioning, "prediction": arrays(model.network({**inputs, **conditioning}))}


@pytest.mark.parametrize("layout", ["diffusers", "kohya", "kohya_sgm"])
def test_files_do_what_they_do_in_diffusers(imported, layout, tmp_path):
    answers, recorded, pipeline = imported
    shapes = json.loads(str(recorded["shapes"]))
    tensors = {
        key: weights.make(value, tuple(shapes[value])) if isinstance(value, str) else np.array(value, "float32")
        for key, value in json.loads(str(recorded["files"]))[layout].items()
    }
    save_file(tensors, tmp_path / "style.safetensors")
    name = pipeline.load_lora(tmp_path / "style.safetensors", scale=0.75)
    try:
        left_out = {shape for shape in shapes if shape.startswith("text_encoder.encoder.layers.2.")}  # of three layers
        assert len(pipeline.model.lora[name].ranks) == len(shapes.keys() - left_out) // 2 and left_out
        received = answer(pipeline.model, answers)
    finally:
        pipeline.unload_lora()
    for name in ("context", "pooled_context", "prediction"):
        assert np.abs(recorded[name] - answers[name]).max() > 0.1
        np.testing.assert_allclose(received[name], recorded[name], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("layout", ["diffusers", "kohya"])
def test_what_is_written_is_read_again(imported, layout, tmp_path):
    """An adapter of all layers, the projection of the text and the embedding of the sizes among them."""
    model = imported[-1].model
    lora = randomize(model.lora.add("one", rank=2, alpha=3.0, **EVERYTHING))
    try:
        save_lora(tmp_path / "two.safetensors", model, "one", layout)
        loaded = model.lora[load_lora(tmp_path / "two.safetensors", model)]
        assert (loaded.ranks, loaded.alphas) == (lora.ranks, lora.alphas)
        assert_close(list(loaded.matrices.values()), list(lora.matrices.values()), 0.0)
    finally:
        model.lora.clear()
    parts = {key.split(".")[0].split("_text_model")[0] for key in load_file(tmp_path / "two.safetensors")}
    if layout == "diffusers":
        assert parts == {"unet", "text_encoder", "text_encoder_2"}
    else:
        assert {"lora_te1", "lora_te2", "lora_te2_text_projection"} < parts
        assert all(part.startswith(("lora_unet_", "lora_te")) for part in parts)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["sd1", "xl"])
def test_names_and_adapters_stay_in_a_preset(version, tmp_path):
    pipeline = TextToImage.from_diffusers(write_folder(tmp_path / "in", golden(version)))
    lora = randomize(pipeline.model.lora.add("one", rank=2, **EVERYTHING))
    pipeline.save_to_preset(tmp_path / "preset")
    again = TextToImage.from_preset(tmp_path / "preset").model
    assert layer_names(again) == layer_names(pipeline.model)
    assert_close(list(again.lora["one"].matrices.values()), list(lora.matrices.values()), 0.0)
