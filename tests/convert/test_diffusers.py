"""Golden: imported models answer what diffusers' pipelines answer, from every layout of a folder."""

import functools

import numpy as np
import pytest
from convert.tiny_folders import DTYPES, SAMPLERS, golden, tensors, write_folder, write_json, write_weights
from golden import clip_words
from golden.clip_words import NEGATIVE, PROMPT
from harness import arrays

from latentdiff import TextToImage
from latentdiff.convert.configs import Config
from latentdiff.convert.diffusers import PartsOfFolder, load_diffusers, load_unet
from latentdiff.convert.text_encoders import load_text_encoder
from latentdiff.convert.weights import autoencoder_weights, text_parts, unet_weights
from latentdiff.settings.request import Request

VERSIONS = ("sd1", "sd2")
PARTS = {"unet": ("unet", unet_weights), "vae": ("autoencoder", autoencoder_weights)}
PARTS["text_encoder"] = ("text_encoder", lambda text_encoder: text_parts(text_encoder)["text_encoder"][1])


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Function that gives the answers of diffusers for a version, and the pipeline of the same folder."""

    @functools.cache
    def opened(version):
        answers = golden(version)
        return answers, TextToImage.from_diffusers(write_folder(tmp_path_factory.mktemp(version), answers))

    return opened


@pytest.fixture(params=VERSIONS)
def imported(request, opened):
    return opened(request.param)


def values(model):
    """All weights by the names of diffusers."""
    named = {part: names(getattr(model, attribute)) for part, (attribute, names) in PARTS.items()}
    return {f"{part}/{name}": arrays(variable.value) for part in named for name, variable in named[part].items()}


def assert_same(received, expected):
    assert received.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(received[name], value, err_msg=name)


def test_text(imported):
    answers, pipeline = imported
    token_ids = pipeline.model.text_encoder.tokenize([PROMPT, ""])
    np.testing.assert_array_equal(token_ids, answers["token_ids"])
    conditioning = arrays(pipeline.model.condition(token_ids))
    np.testing.assert_allclose(conditioning["context"], answers["context"], atol=1e-4)
    assert conditioning["context_mask"].all()


def test_unet(imported):
    answers, pipeline = imported
    inputs = {name: answers[name] for name in ("noisy_latents", "timesteps", "context")}
    inputs["context_mask"] = np.ones(inputs["context"].shape[:2], bool)
    np.testing.assert_allclose(arrays(pipeline.model.unet(inputs)), answers["prediction"], atol=1e-4)


def test_autoencoder(imported):
    answers, pipeline = imported
    autoencoder = pipeline.model.autoencoder
    np.testing.assert_allclose(arrays(autoencoder.encode(answers["images"])), answers["encoded"], atol=1e-4)
    np.testing.assert_allclose(arrays(autoencoder.decode(answers["latents"])), answers["decoded"], atol=1e-4)


FAST = ("sd2", "ddim")
IMAGES = [(version, name) for version in VERSIONS for name in SAMPLERS]


@pytest.mark.parametrize(
    "version, name", [pytest.param(*row, marks=() if row == FAST else pytest.mark.slow) for row in IMAGES]
)
def test_guided_image(opened, version, name):
    """Ten steps of diffusers' scheduler with the same settings end at the same latents."""
    answers, pipeline = opened(version)
    settings = {"num_steps": 10, "guidance_scale": 3.0, "sampler": SAMPLERS[name], "negative_prompts": NEGATIVE}
    request = pipeline.resolve(Request.build(PROMPT, **settings))
    latents = pipeline._sample(request, {"noise": answers["noise"]}, None)
    spread = answers[f"{name}/latents"].std()
    np.testing.assert_allclose(arrays(latents) / spread, answers[f"{name}/latents"] / spread, atol=1e-4)
    image = arrays(pipeline.model.autoencoder.decode(latents))
    np.testing.assert_allclose(image, answers[f"{name}/image"], atol=1e-4)


def test_defaults(imported):
    answers, pipeline = imported
    assert pipeline.image_size == (16, 16)
    assert pipeline.guidance_scale == 7.5
    if pipeline.model.prediction_type == "noise":  # PNDM
        assert (pipeline.sampler, pipeline.num_steps) == (SAMPLERS["dpmpp_2m"], 25)
    else:
        assert (pipeline.sampler, pipeline.num_steps) == (SAMPLERS["ddim"], 50)


@pytest.mark.slow
def test_kept_in_a_preset(imported, tmp_path):
    answers, pipeline = imported
    pipeline.save_to_preset(tmp_path)
    opened = TextToImage.from_preset(tmp_path)
    assert_same(values(opened.model), values(pipeline.model))
    np.testing.assert_array_equal(opened.model.text_encoder.tokenize([PROMPT, ""]), answers["token_ids"])
    assert opened.defaults == pipeline.defaults


# === Layouts ===


LAYOUTS = {
    "float16": {"sharded": True, "variant": "fp16"},
    "bfloat16": {"prefix": "text_model.", "old_names": True, "one_file": False},
}


@pytest.mark.parametrize("dtype", LAYOUTS)
def test_layouts(opened, dtype, tmp_path):
    """Shards, old names and lower precision give the same model, with the numbers that the files hold."""
    answers, pipeline = opened("sd1")
    folder = write_folder(tmp_path, answers, dtype=dtype, **LAYOUTS[dtype])
    other = TextToImage.from_diffusers(folder)
    rounded = {name: value.astype(DTYPES[dtype]).astype("float32") for name, value in values(pipeline.model).items()}
    assert_same(values(other.model), rounded)
    np.testing.assert_array_equal(other.model.text_encoder.tokenize([PROMPT, ""]), answers["token_ids"])
    assert other.defaults == pipeline.defaults


def test_last_layers_left_out_and_positions_of_old_files(tmp_path):
    answers = golden("sd1")
    folder = write_folder(tmp_path, answers)
    state = {f"text_model.{name}": value for name, value in tensors(answers, "text_encoder").items()}
    state["text_model.embeddings.position_ids"] = np.arange(77, dtype="float32")[None]
    write_weights(folder / "text_encoder", "model", state)
    text_encoder = load_text_encoder(folder, PartsOfFolder(folder), 1)
    context = arrays(text_encoder(answers["token_ids"]))
    np.testing.assert_allclose(context, answers["skipped_context"], atol=1e-4)
    assert np.abs(context - answers["context"]).max() > 0.1


# === Refusals ===


def test_vocabulary_of_another_size(tmp_path):
    folder = write_folder(tmp_path, golden("sd1"))
    write_json(folder / "text_encoder" / "config.json", {"vocab_size": 7})
    with pytest.raises(ValueError, match="vocabulary in .*tokenizer must have as many entries.*, 7. Received"):
        load_text_encoder(folder, PartsOfFolder(folder))


def test_a_pipeline_of_another_kind(tmp_path):
    write_json(tmp_path / "model_index.json", {"_class_name": "FluxPipeline"})
    with pytest.raises(ValueError, match="`source` must be a pipeline of .*a FluxPipeline"):
        load_diffusers(tmp_path)
    with pytest.raises(ValueError, match="model_index.json is missing"):
        load_diffusers(tmp_path / "none")


def test_unets_of_other_inputs():
    with pytest.raises(ValueError, match="`in_channels` in unet must be 4, or 9 for inpainting. Received: in_chann"):
        load_unet(Config({"block_out_channels": [8], "in_channels": 8, "out_channels": 4}, "unet"), None)


def test_pad_tokens():
    """The two families differ, or the test of token ids would say little."""
    vocabulary = clip_words.vocabulary()
    assert golden("sd1")["token_ids"][1, -1] == vocabulary[clip_words.END]
    assert golden("sd2")["token_ids"][1, -1] == vocabulary["!"] == 0
