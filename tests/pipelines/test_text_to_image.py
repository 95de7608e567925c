import warnings

import numpy as np
import pytest
from harness import arrays, gap, randomize, tiny_latent_diffusion, tiny_text_encoder, tiny_text_to_image, tiny_unet
from keras import ops

from latentdiff import TextToImage
from latentdiff.diffusion import noise
from latentdiff.diffusion.samplers import DDIM
from latentdiff.models.pixels import to_uint8
from latentdiff.settings.table import MAX_SEED

LEVELS = 2  # of 255: what two ways to the same float32 image may differ by


# === Contract ===


def test_one_prompt_one_picture(pipeline):
    picture = pipeline.generate("a red apple", seed=1)
    assert picture.shape == (8, 8, 3) and picture.dtype == np.uint8
    assert pipeline.generate(["a red apple"], seed=1).shape == (1, 8, 8, 3)
    assert pipeline.generate("a red apple", seed=1, num_images=2).shape == (2, 8, 8, 3)
    assert picture.std() > 10


def test_several_pictures_a_prompt_take_successive_seeds(pipeline):
    pictures = pipeline.generate(["a cat", "a red apple"], seed=[5, 9], num_images=2)
    assert gap(pictures[1], pipeline.generate("a cat", seed=6)) <= LEVELS
    assert gap(pictures[2], pipeline.generate("a red apple", seed=9)) <= LEVELS


def test_no_seed_is_a_fresh_one(pipeline):
    first, again = (pipeline.generate(["a cat", "a cat"]) for _ in range(2))
    assert gap(*first) > LEVELS
    assert gap(first, again) > LEVELS


def test_each_setting_matters(pipeline):
    plain = pipeline.generate("a cat", seed=1)
    for changes in (
        {"prompts": "a red apple"},
        {"negative_prompts": "red"},
        {"num_steps": 7},
        {"guidance_scale": 5.0},
        {"seed": 2},
        {"sampler": "ddpm"},
        {"guidance_rescale": 1.0, "guidance_interval": (0.5, 2.0)},
    ):
        assert gap(pipeline.generate(**{"prompts": "a cat", "seed": 1, **changes}), plain) > LEVELS, changes


def test_defaults_are_those_of_the_pipeline(pipeline):
    explicit = {"num_steps": 3, "guidance_scale": 2.0, "sampler": "ddim", "negative_prompts": ""}
    explicit |= {"guidance_rescale": 0.0, "guidance_interval": (0.0, float("inf"))}
    np.testing.assert_array_equal(pipeline.generate("a cat", seed=1), pipeline.generate("a cat", seed=1, **explicit))


def test_a_sampler_with_its_own_settings(pipeline):
    np.testing.assert_array_equal(
        pipeline.generate("a cat", seed=1, sampler=DDIM(1.0)), pipeline.generate("a cat", seed=1, sampler="ddpm")
    )


def test_callback_sees_each_step_and_changes_nothing(pipeline):
    seen = []

    def callback(step, num_steps, decode):
        seen.append((step, num_steps, decode()))

    pictures = pipeline.generate(["a cat", "red"], seed=[1, 2], num_steps=[4, 2], callback=callback)
    assert [entry[:2] for entry in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    np.testing.assert_array_equal(seen[-1][2], pictures)
    np.testing.assert_array_equal(seen[1][2][1], pictures[1])  # the second row is done after two steps
    assert gap(seen[0][2][0], pictures[0]) > LEVELS
    assert gap(pictures, pipeline.generate(["a cat", "red"], seed=[1, 2], num_steps=[4, 2])) <= LEVELS


def test_any_size():
    model = tiny_latent_diffusion(unet=tiny_unet(latent_shape=(None, None, 3)))
    with pytest.raises(ValueError, match="`image_size` must be given.*Received: image_size=None"):
        TextToImage(model)
    for size in (12, np.int64(12), [12, 12]):
        assert TextToImage(model, size).image_size == (12, 12)
    with pytest.raises(ValueError, match=r"`image_size` must be divisible by 2. Received: image_size=\(8, 7\)"):
        TextToImage(model, (8, 7))
    assert TextToImage(model, (8, 12), num_steps=1).generate("a cat", seed=0).shape == (8, 12, 3)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"prompts": []}, "`prompts` must have at least one prompt"),
        ({"prompts": [3]}, "`prompts` must be"),
        ({"prompts": ["a", "b"], "seed": [1]}, "`seed` must be one value, or one for each of the 2 prompts"),
        ({"prompts": ["a", "b"], "negative_prompts": ["c"]}, "`negative_prompts` must be one value, or one for each"),
        ({"negative_prompts": []}, "`negative_prompts` must be one value, or one for each of the 1 prompts"),
        ({"prompts": ["a", "b"], "negative_prompts": [3, "x"]}, "`negative_prompts` must be valid.*negative_prompts=3"),
        ({"num_steps": 0}, "`num_steps` must be a whole number of at least 1. Received: num_steps=0"),
        ({"num_steps": -3}, "`num_steps` must be"),
        ({"num_steps": 1001}, "`num_steps` must be a whole number from 1 to 1000"),
        ({"num_steps": 2.5}, "`num_steps` must be a whole number"),
        ({"guidance_scale": 0.5}, "`guidance_scale` must be a number from 1 to 1000.*Received: guidance_scale=0.5"),
        ({"guidance_scale": float("nan")}, "`guidance_scale` must be a number"),
        ({"seed": -1}, "`seed` must be a whole number from 0 to 2147483647"),
        ({"seed": MAX_SEED, "num_images": 2}, "`seed` .* must stay within 2147483647"),
        ({"num_images": 0}, "`num_images` must be a whole number of at least 1"),
        ({"batch_size": 0}, "`batch_size` must be a whole number of at least 1"),
        ({"guidance_rescale": 1.5}, "`guidance_rescale` must be a number from 0 to 1. Received: guidance_rescale=1.5"),
        ({"guidance_interval": (3, 1)}, "`guidance_interval` must be an interval LOW HIGH.*Received"),
        ({"sampler": "euler_typo"}, "`sampler` must be one of"),
        ({"num_stps": 3}, "Unknown setting. Did you mean 'num_steps'. Received: 'num_stps'"),
        ({"strength": 0.5}, "`strength` goes with `images`, not with this TextToImage"),
        ({"crop_top_left": (0, 0)}, "`crop_top_left` goes with `image_sizes`, not with this TextToImage"),
        ({"images": np.zeros((8, 8, 3), "uint8")}, "TextToImage does not take `images`"),
        ({"noise": np.full((4, 4, 3), np.nan)}, "`noise` must hold finite numbers"),
    ],
)
def test_wrong_settings(pipeline, arguments, message):
    with pytest.raises(ValueError, match=message):
        pipeline.generate(**{"prompts": "a", **arguments})


def test_prompt_that_is_too_long_warns(pipeline):
    with pytest.warns(UserWarning, match="it was cut before"):
        pipeline.generate("a cat and a cat and a cat and a cat", seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline.generate("a cat", seed=1)


# === Laws ===


def test_same_seed_same_picture(pipeline):
    first, again = (pipeline.generate(["a cat", "red"], seed=7) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_a_picture_does_not_depend_on_its_batch(pipeline, sampler):
    settings = {
        "prompts": ["a red apple", "a cat", "", "the small rocket"],
        "negative_prompts": ["", "blue", "a cat", ""],
        "num_steps": [1, 5, 3, 2],
        "guidance_scale": [1.0, 3.0, 1.0, 7.5],
        "guidance_rescale": [0.5, 0.0, 1.0, 0.7],
        "guidance_interval": [(0.0, 1.0), (0.5, 2.0), (0.0, float("inf")), (0.2, 5.0)],
        "seed": [4, 4, 0, MAX_SEED],
    }
    together = pipeline.generate(**settings, sampler=sampler)
    halves = pipeline.generate(**settings, sampler=sampler, batch_size=2)
    assert gap(together, halves) <= LEVELS
    for row in range(4):
        alone = pipeline.generate(**{name: values[row] for name, values in settings.items()}, sampler=sampler)
        assert gap(together[row], alone) <= LEVELS


def test_guidance_1_is_the_prompt_alone(pipeline):
    """The negative prompt has no say then, and guidance 1 inside a guided batch is the same image."""
    plain = pipeline.generate("a cat", seed=1, guidance_scale=1.0)
    np.testing.assert_array_equal(pipeline.generate("a cat", negative_prompts="red", seed=1, guidance_scale=1.0), plain)
    assert gap(pipeline.generate(["a cat", "red"], seed=1, guidance_scale=[1.0, 5.0])[0], plain) <= LEVELS


def test_guidance_options_of_the_pipeline():
    """What a preset says holds for `generate` and for the denoiser that is exported; a call may say otherwise."""
    options = {"guidance_rescale": 0.7, "guidance_interval": (0.5, 2.0)}
    plain = tiny_text_to_image()
    pipeline = TextToImage(plain.model, num_steps=3, guidance_scale=2.0, **options)
    picture = pipeline.generate("a cat", seed=1)
    np.testing.assert_array_equal(picture, plain.generate("a cat", seed=1, **options))
    off = {"guidance_rescale": 0.0, "guidance_interval": (0.0, float("inf"))}
    np.testing.assert_array_equal(pipeline.generate("a cat", seed=1, **off), plain.generate("a cat", seed=1))
    conditioning = pipeline.encode_text(plain.model.text_encoder.tokenize(["a cat", ""]))
    denoiser = pipeline.denoiser(conditioning, np.array([2.0], "float32"))
    assert (denoiser.rescale, denoiser.interval) == (0.7, (0.5, 2.0))
    with pytest.raises(ValueError, match="`guidance_rescale` must be a number from 0 to 1"):
        TextToImage(plain.model, guidance_rescale=-0.1)


@pytest.mark.slow
def test_inversion_and_back():
    """To the noise and back, each image in its own number of steps; with enough iterations nothing is lost. The
    network of random weights must be a gentle one: no step of a wild one can be taken back."""
    pipeline = tiny_text_to_image()
    for variable in pipeline.model.unet.variables:
        if "conv_out" in variable.path:
            variable.assign(0.1 * variable)
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype="uint8")
    prompts, num_steps = ["a cat", "red"], [30, 60]
    known = arrays(to_uint8(pipeline.model.autoencoder.decode(pipeline.model.autoencoder.encode(images))))
    noise = pipeline.invert(images, prompts, num_steps, num_iterations=8, batch_size=1)
    assert noise.shape == (2, 4, 4, 3) and noise.dtype == np.float32
    assert pipeline.invert(images[0], "a cat", 30).shape == (4, 4, 3)
    back = pipeline.generate(prompts, num_steps=num_steps, guidance_scale=1.0, noise=noise, sampler="ddim")
    assert gap(back, known) <= LEVELS
    assert gap(pipeline.generate(prompts, num_steps=num_steps, guidance_scale=1.0, seed=1), known) > 10
    for sampler in ("ddpm", "unipc", DDIM(0.5)):
        with pytest.raises(ValueError, match="`sampler` must be one without memory and fresh noise: ddim or euler"):
            pipeline.invert(images[0], "a cat", sampler=sampler)
    with pytest.raises(ValueError, match="`batch_size` must be a whole number of at least 1"):
        pipeline.invert(images[0], "a cat", batch_size=0)


def test_noise_in_place_of_a_seed(pipeline):
    first, second = (np.asarray(noise.normal(np.array([seed], "int32"), (4, 4, 3)))[0] for seed in (1, 2))
    pictures = pipeline.generate(["a cat", "a cat"], noise=np.stack([first, second]), seed=9)
    assert gap(pictures, pipeline.generate(["a cat", "a cat"], seed=[1, 2])) <= LEVELS
    half = pipeline.generate("a cat", noise=noise.interpolate(first, second, 0.5))
    assert min(gap(half, picture) for picture in pictures) > LEVELS
    with pytest.raises(ValueError, match=r"`noise` must have shape \(4, 4, 3\)"):
        pipeline.generate("a cat", noise=first[:2])


def test_padding_is_silent(pipeline):
    """The same weights with prompts padded to 8 and to 16 tokens."""
    longer = tiny_latent_diffusion(text_encoder=tiny_text_encoder(sequence_length=16))
    for mine, other in zip(longer.weights, pipeline.model.weights, strict=True):
        mine.assign(other)
    prompts = ["a red apple", "", "cat"]
    pictures = TextToImage(longer, num_steps=3, guidance_scale=2.0).generate(prompts, seed=3)
    assert gap(pictures, pipeline.generate(prompts, seed=3)) <= LEVELS


def test_generate_by_hand(pipeline):
    """Eager, without the compiled loop: encode, guide, take DDIM's steps, decode."""
    model = pipeline.model
    schedule, unet = model.noise_schedule, model.unet
    features = {text: model.text_encoder.encode([text]) for text in ("a cat", "red")}
    latents = noise.normal(np.array([6], "int32"), (4, 4, 3))
    for here, there in ((999, 665), (665, 332), (332, -1)):
        here, there = (np.array([time], "float32") for time in (here, there))
        parts = []
        for context, context_mask in features.values():
            inputs = {"noisy_latents": latents, "timesteps": ops.convert_to_tensor(here)}
            prediction = unet({**inputs, "context": context, "context_mask": context_mask})
            parts.append(schedule.split(prediction, latents, here, "velocity"))
        pred_latents, pred_noise = (
            without + 4.0 * (of_prompt - without) for of_prompt, without in zip(*parts, strict=True)
        )
        latents = schedule.add_noise(pred_latents, pred_noise, there)
    by_hand = arrays(to_uint8(model.autoencoder.decode(latents)))[0]
    assert (
        gap(pipeline.generate("a cat", negative_prompts="red", num_steps=3, guidance_scale=4.0, seed=6), by_hand)
        <= LEVELS
    )


def test_changed_weights_are_seen(pipeline):
    """The compiled loop reads the weights of now, so that previews while training show its progress."""
    trained = tiny_text_to_image()
    before = trained.generate("a cat", seed=1)
    randomize(trained.model.unet, seed=5)
    after = trained.generate("a cat", seed=1)
    assert gap(before, after) > LEVELS
