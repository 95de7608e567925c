"""Golden: an imported Stable Diffusion XL answers what diffusers' pipeline answers."""

import numpy as np
import pytest
from convert.tiny_folders import SAMPLERS, golden, write_folder, write_json, write_tokenizer, write_weights
from golden.clip_words import END, NEGATIVE, PROMPT
from harness import arrays, compile_quietly, first_fast, gap, needs_tensorflow

from latentdiff import TextToImage, cli
from latentdiff.convert.diffusers import PartsOfFolder, load_diffusers
from latentdiff.convert.text_encoders import load_two_text_encoders
from latentdiff.data.images import load_picture, read_settings
from latentdiff.runtimes.client import DTYPES
from latentdiff.settings.request import Request
from latentdiff.settings.wire import to_wire


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The answers of diffusers, and the pipeline of the same folder."""
    answers = golden("xl")
    return answers, TextToImage.from_diffusers(write_folder(tmp_path_factory.mktemp("xl"), answers))


def test_text(imported):
    answers, pipeline = imported
    conditioning = arrays(pipeline.model.condition(pipeline.model.text_encoder.tokenize([PROMPT, NEGATIVE])))
    for name in ("context", "pooled_context"):
        np.testing.assert_allclose(conditioning[name], answers[name], atol=1e-4, err_msg=name)
    assert conditioning["context_mask"].all()


def test_the_empty_prompt_is_zero(imported):
    text_encoder = imported[1].model.text_encoder
    conditioning = arrays(text_encoder.condition(text_encoder.tokenize(["", PROMPT])))
    for name in ("context", "pooled_context"):
        assert not conditioning[name][0].any() and conditioning[name][1].any()


def test_last_layers_left_out(tmp_path):
    answers = golden("xl")
    folder = write_folder(tmp_path, answers)
    text_encoder = load_two_text_encoders(folder, PartsOfFolder(folder), 1, zero_empty=False)
    conditioning = arrays(text_encoder.condition(text_encoder.tokenize([PROMPT, NEGATIVE, ""])))
    np.testing.assert_allclose(conditioning["context"][:2], answers["skipped_context"], atol=1e-4)
    np.testing.assert_allclose(conditioning["pooled_context"][:2], answers["pooled_context"], atol=1e-4)
    assert conditioning["context"][2].any()


def test_unet(imported):
    """With sizes of another image and a crop."""
    answers, pipeline = imported
    names = ("noisy_latents", "timesteps", "context", "pooled_context", "image_sizes")
    inputs = {name: answers[name] for name in names}
    inputs["context_mask"] = np.ones(inputs["context"].shape[:2], bool)
    np.testing.assert_allclose(arrays(pipeline.model.unet(inputs)), answers["prediction"], atol=1e-4)


def test_autoencoder(imported):
    answers, pipeline = imported
    autoencoder = pipeline.model.autoencoder
    np.testing.assert_allclose(arrays(autoencoder.encode(answers["images"])), answers["encoded"], atol=1e-4)
    np.testing.assert_allclose(arrays(autoencoder.decode(answers["latents"])), answers["decoded"], atol=1e-4)


@pytest.mark.parametrize("name", first_fast(["euler", "ddim", "dpmpp_2m"]))
def test_guided_image(imported, name):
    """Ten steps with a negative prompt, and without one, where zeros stand for it."""
    answers, pipeline = imported
    for kind, negative in (("", NEGATIVE), ("zeros/", None)):
        settings = {"num_steps": 10, "guidance_scale": 3.0, "sampler": SAMPLERS[name]}
        settings |= {} if negative is None else {"negative_prompts": negative}
        request = pipeline.resolve(Request.build(PROMPT, seed=0, **settings))
        latents = pipeline._sample(request, {"noise": answers["noise"]}, None)
        expected = answers[f"{kind}{name}/latents"]
        np.testing.assert_allclose(arrays(latents) / expected.std(), expected / expected.std(), atol=1e-4)
        image = arrays(pipeline.model.autoencoder.decode(latents))
        np.testing.assert_allclose(image, answers[f"{kind}{name}/image"], atol=1e-4)


SIZES = {"original_size": (24, 20), "crop_top_left": (3, 4), "target_size": (12, 16)}


def latents_of(pipeline, noise, prompts, negative_prompts, **settings):
    request = Request.build(prompts, seed=0, num_steps=10, negative_prompts=negative_prompts, **settings)
    noise = np.repeat(noise, len(request), axis=0)
    return arrays(pipeline._sample(pipeline.resolve(request), {"noise": noise}, None))


@pytest.mark.parametrize("name", first_fast(["euler", "ddim", "dpmpp_2m"]))
def test_guided_image_of_other_sizes(imported, name):
    """Beside an image in the same batch that has the sizes of the result."""
    answers, pipeline = imported
    settings = {name: [None, value] for name, value in SIZES.items()} | {"guidance_scale": 3.0}
    settings["sampler"] = SAMPLERS[name]
    plain, cropped = latents_of(pipeline, answers["noise"], [PROMPT] * 2, NEGATIVE, **settings)
    for received, kind in ((plain, ""), (cropped, "cropped/")):
        expected = answers[f"{kind}{name}/latents"][0]
        np.testing.assert_allclose(received / expected.std(), expected / expected.std(), atol=1e-4)


def test_each_image_has_its_own_sizes(imported):
    """Also of a mixture, whose parts are rows of their own, and of words with weights."""
    answers, pipeline = imported
    prompts = ["(red:1.5) apple", f"{PROMPT}:1 | a cat:2"]
    sizes = {name: [value, None] for name, value in SIZES.items()}
    alone = [
        latents_of(
            pipeline, answers["noise"], prompts[row], "", **{name: values[row] for name, values in sizes.items()}
        )[0]
        for row in range(2)
    ]
    together = latents_of(pipeline, answers["noise"], prompts, "", **sizes)
    np.testing.assert_allclose(together, alone, atol=1e-4 * np.abs(alone).max())
    plain = latents_of(pipeline, answers["noise"], prompts, "")
    assert np.abs(plain[0] - together[0]).max() > 1e-2 and np.abs(plain[1] - together[1]).max() < 1e-3


def test_defaults(imported):
    pipeline = imported[1]
    assert (pipeline.image_size, pipeline.guidance_scale, pipeline.num_steps) == ((16, 16), 5.0, 50)
    assert pipeline.sampler == SAMPLERS["euler"]


def test_training(imported):
    """A few steps on images, whose sizes are known, and on images with sizes of their own."""
    answers, _ = imported
    data = {"images": np.repeat(answers["images"], 2, axis=0), "captions": [PROMPT, NEGATIVE]}
    model = TextToImage(imported[1].model, image_size=16).model
    plain, whole, cropped = (
        arrays(model({**data, **more})["prediction"])
        for more in (
            {},
            {"image_sizes": np.array([[16, 16, 0, 0, 16, 16]] * 2, "float32")},
            {"image_sizes": np.array([[32, 24, 8, 4, 16, 16]] * 2, "float32")},
        )
    )
    np.testing.assert_array_equal(plain, whole)
    assert np.abs(plain - cropped).max() > 1e-3
    weights = model.get_weights()
    kernel = model.unet.get_layer("added_embedding").dense_in.kernel
    before = arrays(kernel.value)
    history = compile_quietly(model, optimizer="sgd").fit(data, batch_size=2, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all() and np.abs(arrays(kernel.value) - before).max() > 0
    model.set_weights(weights)


@pytest.mark.slow
def test_kept_in_a_preset(imported, tmp_path):
    _, pipeline = imported
    pipeline.save_to_preset(tmp_path)
    again = TextToImage.from_preset(tmp_path)
    assert again.defaults == pipeline.defaults
    for mine, theirs in zip(again.model.weights, pipeline.model.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=mine.path)
    image = [str(tmp_path / "made.png"), "--seed", "1", "--num-steps", "2", "--original-size", "24", "20"]
    assert cli.main(["generate", "a cat", "--preset", str(tmp_path), "--output", *image]) == 0
    told = read_settings(image[0])
    assert [told[name] for name in SIZES] == ["[24, 20]", "[0, 0]", "[16, 16]"]
    expected = pipeline.generate("a cat", seed=1, num_steps=2, original_size=(24, 20))
    assert gap(load_picture(image[0], 16), expected) <= 1
    settings = {"seed": 1, "num_steps": 2}
    assert gap(again.generate("(red:1.5) apple", **settings), pipeline.generate("(red:1.5) apple", **settings)) <= 1


@needs_tensorflow
@pytest.mark.slow
def test_served_model(imported, tmp_path):
    """The export compares its images with those of Keras."""
    import tensorflow as tf

    plain = TextToImage.from_pipeline(imported[1], num_steps=2)
    plain.export(tmp_path / "xl" / "1")
    signatures = tf.saved_model.load(tmp_path / "xl" / "1").signatures
    request = Request.build(
        [PROMPT, "a cat", PROMPT], seed=3, original_size=[None, None, (24, 20)], target_size=(12, 16)
    )
    inputs = {name: np.array(values, DTYPES.get(name)) for name, values in to_wire(request).items()}
    inputs["crop_top_left"][1] = (-5, 3)
    answer = signatures["serving_default"](**{name: tf.constant(values) for name, values in inputs.items()})
    told = "`crop_top_left` must be two whole numbers from 0 to 100000; used 0 3. Received: -5 3."
    assert [text.decode() for text in answer["warnings"].numpy()] == ["", told, ""]
    sizes = {"original_size": request["original_size"], "target_size": request["target_size"]}
    sizes["crop_top_left"] = [None, (0, 3), None]
    assert gap(answer["images"], plain.generate(request["prompts"], seed=3, **sizes)) <= 2
    assert gap(answer["images"][0], answer["images"][2]) > 2
    made = signatures["encode_text"](prompts=tf.constant([PROMPT, ""]))
    np.testing.assert_array_equal(made["image_sizes"], [[16, 16, 0, 0, 16, 16]] * 2)
    assert not np.any(made["pooled_context"][1])
    assert {"pooled_context", "image_sizes"} < set(signatures["denoise"].structured_input_signature[1])


# === Refusals ===


def test_tokenizers_that_differ(tmp_path):
    folder = write_folder(tmp_path, golden("xl"))
    write_tokenizer(folder / "tokenizer_2", END)
    text_encoder = load_two_text_encoders(folder, PartsOfFolder(folder))
    assert text_encoder.backbone.second_pad_id == text_encoder.end_id
    (folder / "tokenizer_2" / "tokenizer.json").unlink()
    write_tokenizer(folder / "tokenizer_2", "!", one_file=False)
    (folder / "tokenizer_2" / "merges.txt").write_text("#version: 0.2\na p\n")
    with pytest.raises(ValueError, match="`tokenizer` and `tokenizer_2` in .* must be equal but for their padding"):
        load_two_text_encoders(folder, PartsOfFolder(folder))


def test_refiner(tmp_path):
    values = {"_class_name": "StableDiffusionXLImg2ImgPipeline", "requires_aesthetics_score": True}
    write_json(tmp_path / "model_index.json", values)
    with pytest.raises(ValueError, match="`source` must be a base model, no refiner"):
        load_diffusers(tmp_path)


def test_a_missing_projection(tmp_path):
    folder = write_folder(tmp_path, golden("xl"))
    write_weights(folder / "text_encoder_2", "model", {})
    with pytest.raises(ValueError, match="text_encoder_2 of .* lacks "):
        load_two_text_encoders(folder, PartsOfFolder(folder))
