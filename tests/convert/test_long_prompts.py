"""Prompts of several chunks of 75 tokens: golden numbers of transformers and diffusers, and laws."""

import functools
import warnings

import numpy as np
import pytest
from convert.tiny_folders import golden, write_folder
from golden.clip_words import LONG, LONG_NEGATIVE, PROMPT, SHORTER
from harness import GOLDEN, arrays, first_fast, gap

from latentdiff import TextToImage
from latentdiff.pipelines import prompt_weights
from latentdiff.settings.prompt_syntax import parse
from latentdiff.settings.request import Request

PROMPTS = {"long": LONG, "shorter": SHORTER, "negative": LONG_NEGATIVE}
VERSIONS = pytest.mark.parametrize("version", first_fast(["sd1", "sd2"]))


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Function (version, max_chunks) that gives the pipeline of a tiny Stable Diffusion."""

    @functools.cache
    def opened(version, max_chunks=3):
        folder = write_folder(tmp_path_factory.mktemp(version), golden(version))
        return TextToImage.from_diffusers(folder, max_chunks=max_chunks)

    return opened


def answers():
    with np.load(GOLDEN / "long_prompts.npz") as file:
        return dict(file)


def encode(pipeline, *prompts):
    """The conditioning of prompts, as `generate` makes it."""
    parsed = [parse(prompt) for prompt in prompts]
    return arrays(prompt_weights.encode(parsed, pipeline.model.text_encoder, pipeline.encode_text)[0])


# === Golden ===


@VERSIONS
def test_features_are_those_of_the_chunks_one_by_one(opened, version):
    pipeline, expected = opened(version), answers()
    text_encoder = pipeline.model.text_encoder
    for name, prompt in PROMPTS.items():
        token_ids = expected[f"{version}/{name}/token_ids"]
        received = text_encoder.trim(text_encoder.tokenize([prompt]))
        np.testing.assert_array_equal(received, token_ids.reshape(1, -1))
        conditioning = encode(pipeline, prompt)
        np.testing.assert_allclose(conditioning["context"], expected[f"{version}/{name}/context"], atol=1e-4)
        assert conditioning["context_mask"].all()


@pytest.mark.slow
@pytest.mark.parametrize("version", ["sd1", "sd2"])
def test_guided_image(opened, version):
    """Ten steps of diffusers end at the same latents."""
    pipeline, expected = opened(version), answers()
    sampler = {"name": "ddim", "spacing": "leading_offset"}
    settings = {"num_steps": 10, "guidance_scale": 3.0, "sampler": sampler, "negative_prompts": LONG_NEGATIVE}
    request = pipeline.resolve(Request.build(SHORTER, **settings))
    latents = arrays(pipeline._sample(request, {"noise": expected["noise"]}, None))
    spread = expected[f"{version}/latents"].std()
    np.testing.assert_allclose(latents / spread, expected[f"{version}/latents"] / spread, atol=1e-4)


# === Laws ===


def test_short_prompts_cost_nothing_and_stay_what_they_are(opened):
    long, plain = opened("sd1"), opened("sd1", 1)
    assert encode(long, PROMPT, "")["context"].shape == (2, 77, 16)
    for name, values in encode(plain, PROMPT, "(red:1.3) cat").items():
        np.testing.assert_array_equal(encode(long, PROMPT, "(red:1.3) cat")[name], values)


@pytest.mark.slow
def test_an_image_does_not_depend_on_longer_neighbours(opened):
    """Chunks that a prompt lacks are masked: neither its neighbours nor its negative prompt add any."""
    pipeline = opened("sd1")
    prompts, negative_prompts = [PROMPT, LONG], [SHORTER, ""]
    together = pipeline.generate(prompts, seed=1, num_steps=2, negative_prompts=negative_prompts)
    for row, prompt in enumerate(prompts):
        alone = pipeline.generate(prompt, seed=1, num_steps=2, negative_prompts=negative_prompts[row])
        assert gap(together[row], alone) <= 2
    assert gap(together[1], pipeline.generate(SHORTER, seed=1, num_steps=2)) > 2


def test_weights_reach_all_chunks(opened):
    """`(red:1.5)` in the second chunk moves the features of its token along the line from the empty prompt."""
    pipeline, first = opened("sd1"), SHORTER.rsplit(" the ", 1)[0]
    plain, weighted = encode(pipeline, f"{first} red cat"), encode(pipeline, f"{first} (red:1.5) cat")
    null = encode(pipeline, "")["context"].mean(axis=1)
    place = 77 + 1 + len(pipeline.model.text_encoder.tokenizer(first)) - 75
    expected = plain["context"].copy()
    expected[0, place] = null + 1.5 * (expected[0, place] - null)
    np.testing.assert_allclose(weighted["context"], expected, atol=1e-5)


def test_what_does_not_fit_is_cut_with_a_warning(opened):
    text_encoder = opened("sd1").model.text_encoder
    with pytest.warns(UserWarning, match=r"has 396 tokens, 225 fit: it was cut before"):
        text_encoder.tokenize([f"{LONG} {LONG}"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text_encoder.tokenize([LONG])
    with pytest.warns(UserWarning, match=r"has 198 tokens, 75 fit"):
        opened("sd1", 1).model.text_encoder.tokenize([LONG])


@pytest.mark.slow
def test_kept_in_a_preset(opened, tmp_path):
    opened("sd1").save_to_preset(tmp_path)
    again = TextToImage.from_preset(tmp_path)
    assert again.model.text_encoder.max_chunks == 3
    np.testing.assert_array_equal(encode(again, LONG)["context"], encode(opened("sd1"), LONG)["context"])


@pytest.mark.parametrize("value", [0, 1.5, True])
def test_wrong_numbers_of_chunks(opened, value, tmp_path):
    folder = write_folder(tmp_path, golden("sd1"))
    with pytest.raises(ValueError, match="`max_chunks` must be a whole number of at least 1. Received: max_chunks="):
        TextToImage.from_diffusers(folder, max_chunks=value)
