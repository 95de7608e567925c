import numpy as np
import pytest
from harness import arrays, gap, normal, tiny_latent_diffusion, tiny_text_encoder

from latentdiff import NoiseSchedule, TextToImage
from latentdiff.diffusion.denoiser import Mixture
from latentdiff.pipelines import prompt_weights
from latentdiff.settings.prompt_syntax import blend, escape, parse

LEVELS = 2  # of 255


def pieces(prompt):
    (part,) = parse(prompt)
    assert part.share == 1.0
    return list(part.pieces)


# === Syntax ===


@pytest.mark.parametrize(
    "prompt, expected",
    [
        ("(red:1.3) apple", [("red", 1.3), (" apple", 1.0)]),
        ("a (red:0) (apple: .5 ), 3d", [("a ", 1.0), ("red", 0.0), (" ", 1.0), ("apple", 0.5), (", 3d", 1.0)]),
        ("((red:2) and green:1.5)", [("red", 3.0), (" and green", 1.5)]),
        ("(red:1) apple", [("red apple", 1.0)]),
        ("(:2)", []),
        ("", []),
        (r"(a \(b\):2)", [("a (b)", 2.0)]),
        ("(a (b):2)", [("a (b)", 2.0)]),
        ("((a:2)", [("(", 1.0), ("a", 2.0)]),
    ],
)
def test_weights(prompt, expected):
    assert pieces(prompt) == expected


@pytest.mark.parametrize(
    "prompt",
    [
        "red apple",
        "(red) apple",
        "3:2",
        "a: b",
        "sad :( face :)",
        "(red:much)",
        "a|b",
        "a | b",
        "(a:b:c) | d",
        "back\\slash",
    ],
)
def test_plain_text_is_left_alone(prompt):
    assert pieces(prompt) == [(prompt, 1.0)]


@pytest.mark.parametrize("text", ["(ratio 3:2)", "a:1 | b:2", "a\\", "\\(", "(((", "x:) :(", "(a:2) | (b:1)"])
def test_escaped_text_is_plain(text):
    assert pieces(escape(text)) == [(text, 1.0)]
    assert pieces(f"({escape(text)}:2)") == [(text, 2.0)]


def test_mixtures():
    first, second = parse("red apple, 3d:3 | (green:2) apple:1")
    assert (first.share, first.pieces) == (0.75, (("red apple, 3d", 1.0),))
    assert (second.share, second.pieces) == (0.25, (("green", 2.0), (" apple", 1.0)))
    (only,) = parse("red:0 | green:2")
    assert (only.share, only.text) == (1.0, "green")
    assert [part.share for part in parse(blend(["a", "b", "c"], [1, 1, 2]))] == [0.25, 0.25, 0.5]
    assert [part.text for part in parse(blend([escape("a:1|b"), "c"], [0.3, 1e-7]))] == ["a:1|b", "c"]


@pytest.mark.parametrize(
    "prompt, message",
    [
        ("(red:11)", r"a weight outside \[0, 10\], 11; to take the text as it stands, write .*Received: '\(red:11\)'"),
        ("(red:-1)", "a weight outside"),
        ("a:1 | b", "a part that has no weight, 'b'.*TEXT:NUMBER | TEXT:NUMBER"),
        ("a:0 | b:0", "a mixture whose weights are all 0"),
    ],
)
def test_wrong_prompts(pipeline, prompt, message):
    with pytest.raises(ValueError, match=f"`prompts` has {message}"):
        pipeline.generate(prompt)
    with pytest.raises(ValueError, match=f"`negative_prompts` has {message}"):
        pipeline.generate("a cat", negative_prompts=prompt)


def test_wrong_blend():
    with pytest.raises(ValueError, match="`weights` must be one for each of 2 prompts or more. Received: 1 for 2"):
        blend(["a", "b"], [1.0])


# === Laws ===


def encode(pipeline, *prompts):
    parsed = [parse(prompt) for prompt in prompts]
    conditioning, shares = prompt_weights.encode(parsed, pipeline.model.text_encoder, pipeline.encode_text)
    return arrays(conditioning["context"]), arrays(conditioning["context_mask"]), shares


def test_features_follow_the_weight(pipeline):
    """Those of the weighted words alone, along the line from what the empty prompt says."""
    plain, mask, shares = encode(pipeline, "a red cat")
    assert shares is None and mask[0].tolist() == [True] * 5 + [False] * 3
    empty, empty_mask, _ = encode(pipeline, "")
    null = empty[0][empty_mask[0]].mean(axis=0)
    for weight in (0.0, 0.5, 2.0):
        weighted, weighted_mask, _ = encode(pipeline, f"a (red:{weight}) cat")
        np.testing.assert_array_equal(weighted_mask, mask)
        np.testing.assert_allclose(weighted[0, 2], null + weight * (plain[0, 2] - null), atol=1e-5)
        np.testing.assert_allclose(weighted[0, [0, 1, 3, 4]], plain[0, [0, 1, 3, 4]], atol=1e-5)


def test_a_prompt_without_weights_is_bit_for_bit_what_it_was(pipeline):
    for prompt in ("a (red) cat", "a red cat"):
        context, context_mask, _ = encode(pipeline, prompt)
        expected = arrays(pipeline.encode_text(pipeline.model.text_encoder.tokenize([prompt])))
        np.testing.assert_array_equal(context, expected["context"])
        np.testing.assert_array_equal(context_mask, expected["context_mask"])


def test_mixture_of_denoisers():
    schedule, first, second = NoiseSchedule(), normal(0, 2, 2, 2, 3), normal(1, 2, 2, 2, 3)

    class Two:
        noise_schedule = schedule

        def __call__(self, noisy_latents, timesteps):
            return np.concatenate([first, second]) + 0.0 * noisy_latents, 2.0 * noisy_latents

    shares = (np.array([1.0, 0.25], "float32"), np.array([0.0, 0.75], "float32"))
    noisy_latents = normal(2, 2, 2, 2, 3)
    pred_latents, pred_noise = arrays(Mixture(Two(), shares)(noisy_latents, np.array([1.0, 2.0], "float32")))
    np.testing.assert_allclose(pred_latents[0], first[0], atol=1e-6)
    np.testing.assert_allclose(pred_latents[1], 0.25 * first[1] + 0.75 * second[1], atol=1e-6)
    np.testing.assert_allclose(pred_noise, 2.0 * noisy_latents, atol=1e-6)


def test_pictures_of_mixtures(pipeline):
    """At its ends a mixture is one of its prompts, in between it is nearer to the one that counts more; and a mixture
    of the same is the same."""

    def picture(prompt, **settings):
        return pipeline.generate(prompt, seed=1, **settings)

    red, cat = picture("red"), picture("a cat")
    np.testing.assert_array_equal(picture("red:1 | a cat:0"), red)
    assert gap(picture("red:0.999999 | a cat:0.000001"), red) <= LEVELS
    assert gap(picture("red:1 | red:2"), red) <= LEVELS
    mostly_red = picture("red:3 | a cat:1").astype(float)
    assert gap(mostly_red, red) > LEVELS
    assert np.abs(mostly_red - red).mean() < np.abs(mostly_red - cat).mean()
    assert gap(picture("blue", negative_prompts="red:1 | a cat:1"), picture("blue")) > LEVELS


@pytest.mark.slow
def test_a_picture_does_not_depend_on_its_batch(pipeline):
    prompts = ["a (red:2) apple", "red:1 | a cat:1 | green:2", "a cat", "red:1 | (cat:0.5):1"]
    settings = {"negative_prompts": ["", "blue", "(red:3)", "a:1 | the:1"], "seed": [1, 2, 3, 4]}
    together = pipeline.generate(prompts, **settings)
    for row, prompt in enumerate(prompts):
        alone = pipeline.generate(prompt, **{name: values[row] for name, values in settings.items()})
        assert gap(together[row], alone) <= LEVELS
    assert gap(together[0], pipeline.generate("a red apple", seed=1)) > LEVELS


def test_padding_is_silent(pipeline):
    longer = tiny_latent_diffusion(text_encoder=tiny_text_encoder(sequence_length=16))
    for mine, other in zip(longer.weights, pipeline.model.weights, strict=True):
        mine.assign(other)
    prompts = ["a (red:2) apple", "(red:2):1 | a smiling cat:1"]
    pictures = TextToImage(longer, num_steps=3, guidance_scale=2.0).generate(prompts, seed=3)
    assert gap(pictures, pipeline.generate(prompts, seed=3)) <= LEVELS


def test_a_weighted_prompt_that_is_too_long_warns(pipeline):
    with pytest.warns(UserWarning, match="'a red cat and a red cat' has 7 tokens, 6 fit"):
        pipeline.generate("a (red:2) cat and a (red cat:0.5)", seed=1)


@pytest.mark.slow
def test_inversion_takes_them(pipeline):
    image = np.full((8, 8, 3), 90, "uint8")
    noise = pipeline.invert(image, "(red:2):1 | a cat:1", num_steps=3, num_iterations=1)
    assert noise.shape == (4, 4, 3)
    assert np.abs(noise - pipeline.invert(image, "red", num_steps=3, num_iterations=1)).max() > 0.01
