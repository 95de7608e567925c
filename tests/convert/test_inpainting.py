"""Golden: an imported U-Net that sees a mask paints what diffusers' pipeline for inpainting paints."""

import functools
import json

import numpy as np
import pytest
from convert.tiny_folders import FILES, SAMPLERS, golden, single_file, tensors, write_folder, write_weights
from golden.clip_words import NEGATIVE, PROMPT
from harness import arrays, first_fast
from safetensors.numpy import load_file

from latentdiff import Inpaint, TextToImage
from latentdiff.convert.diffusers import load_diffusers
from latentdiff.settings.request import Request

CLASSES = {"inpaint": "StableDiffusionInpaintPipeline", "inpaint_xl": "StableDiffusionXLInpaintPipeline"}
SIZES = {"original_size": (24, 20), "crop_top_left": (3, 4), "target_size": (12, 16)}


@pytest.fixture(scope="module")
def open_version(tmp_path_factory):
    """Function of a version to the answers of diffusers, the pipeline of the same folder, and the folder."""

    @functools.cache
    def opened(version):
        answers = golden(version)
        folder = write_folder(tmp_path_factory.mktemp(version), answers)
        return answers, Inpaint.from_diffusers(folder), folder

    return opened


@pytest.fixture(params=CLASSES)
def imported(request, open_version):
    return open_version(request.param)


def test_text(open_version):
    answers, pipeline, _ = open_version("inpaint_xl")
    conditioning = arrays(pipeline.model.condition(pipeline.model.text_encoder.tokenize([PROMPT, NEGATIVE])))
    for name in ("context", "pooled_context"):
        np.testing.assert_allclose(conditioning[name], answers[name], atol=1e-4, err_msg=name)


def test_unet(imported):
    answers, pipeline, _ = imported
    names = ("timesteps", "context", "pooled_context", "image_sizes")
    inputs = {name: answers[name] for name in names if name in answers}
    inputs["context_mask"] = np.ones(inputs["context"].shape[:2], bool)
    inputs["noisy_latents"], inputs["masked_latents"] = np.split(answers["unet_inputs"], [4], axis=-1)
    np.testing.assert_allclose(arrays(pipeline.model.unet(inputs)), answers["prediction"], atol=1e-4)


def painted(answers, pipeline, monkeypatch, sampler, **sizes):
    """Latents of ten guided steps, from the noise, the image and the mask of the answers."""
    made = []
    monkeypatch.setattr(pipeline, "_decode", lambda latents: made.append(arrays(latents)) or answers["images"][None])
    settings = {"num_steps": 10, "guidance_scale": 3.0, "sampler": SAMPLERS[sampler], "negative_prompts": NEGATIVE}
    given = {"images": answers["images"], "masks": answers["masks"] > 0, "noise": answers["noise"][0]}
    pipeline.generate(PROMPT, **given, **settings, **sizes)
    return made[0]


def check(latents, expected):
    np.testing.assert_allclose(latents / expected.std(), expected / expected.std(), atol=1e-4)


@pytest.mark.parametrize("name", first_fast(SAMPLERS))
def test_guided_image(imported, name, monkeypatch):
    answers, pipeline, _ = imported
    latents = painted(answers, pipeline, monkeypatch, name)
    check(latents, answers[f"{name}/latents"])
    image = arrays(pipeline.model.autoencoder.decode(latents))
    np.testing.assert_allclose(image, answers[f"{name}/image"], atol=1e-4)


@pytest.mark.parametrize("name", first_fast(SAMPLERS))
def test_guided_image_of_other_sizes(open_version, name, monkeypatch):
    answers, pipeline, _ = open_version("inpaint_xl")
    check(painted(answers, pipeline, monkeypatch, name, **SIZES), answers[f"cropped/{name}/latents"])


def test_written_for_diffusers(imported, tmp_path):
    answers, pipeline, _ = imported
    TextToImage.from_pipeline(pipeline).export_diffusers(tmp_path / "out")
    index = json.loads((tmp_path / "out" / "model_index.json").read_text())
    assert index["_class_name"] in CLASSES.values() and index["_diffusers_version"]
    assert ("XL" in index["_class_name"]) == ("text_encoder_2/config" in answers)
    config, expected = json.loads((tmp_path / "out" / "unet" / "config.json").read_text()), answers["unet/config"]
    assert {name: config[name] for name in ("in_channels", "out_channels")} == {"in_channels": 9, "out_channels": 4}
    assert json.loads(expected)["in_channels"] == 9
    received = load_file(tmp_path / "out" / "unet" / f"{FILES['unet']}.safetensors")
    expected = tensors(answers, "unet")
    assert received.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(received[name], values, err_msg=name)


@pytest.mark.slow
def test_single_file(imported, tmp_path):
    answers, pipeline, folder = imported
    write_weights(tmp_path, "all", single_file(answers))
    model, _ = load_diffusers(folder, weights_file=tmp_path / "all.safetensors")
    for mine, theirs in zip(model.unet.weights, pipeline.model.unet.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=mine.path)


@pytest.mark.slow
def test_kept_in_a_preset(imported, tmp_path):
    _, pipeline, _ = imported
    pipeline.save_to_preset(tmp_path)
    again = Inpaint.from_preset(tmp_path)
    assert again.model.unet.get_config() == pipeline.model.unet.get_config()
    request = again.resolve(Request.build(PROMPT, seed=1, num_steps=2))
    assert request.rows(0, 1)["num_steps"][0] == 2
    for mine, theirs in zip(again.model.unet.weights, pipeline.model.unet.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=mine.path)
