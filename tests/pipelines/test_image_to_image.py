import keras
import numpy as np
import pytest
from harness import arrays, first_fast, gap, tiny_latent_diffusion, tiny_text_to_image, tiny_unet

from latentdiff import ImageToImage, NoiseSchedule, TextToImage
from latentdiff.models.pixels import to_uint8

LEVELS = 2  # of 255
PICTURES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype="uint8")
SAMPLERS = ["ddpm", "unipc"]


@pytest.fixture(scope="module", params=first_fast(["scaled_linear", "rectified_flow"]))
def plain(request):
    keras.utils.set_random_seed(0)
    return tiny_text_to_image(noise_schedule=NoiseSchedule(request.param))


@pytest.fixture(scope="module")
def pipeline(plain):
    return ImageToImage(plain.model, num_steps=3, guidance_scale=2.0)


def reconstruction(model, images):
    return arrays(to_uint8(model.autoencoder.decode(model.autoencoder.encode(images))))


# === Laws ===


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_strength_0_is_the_reconstruction(pipeline, sampler):
    inputs = {"images": PICTURES, "prompts": ["a cat", "red", ""]}
    received = pipeline.generate(**inputs, strength=0.0, num_steps=[1, 3, 5], seed=1, sampler=sampler)
    assert gap(received, reconstruction(pipeline.model, PICTURES)) <= 1


@pytest.mark.parametrize("sampler", first_fast(SAMPLERS))
def test_strength_1_is_plain_generation(plain, sampler):
    """Bit for bit, where both loops are compiled for the same shapes: hence new pipelines."""
    prompts, settings = ["a cat", "red"], {"num_steps": [2, 4], "seed": [1, 2], "sampler": sampler}
    from_pictures, from_nothing = (kind(plain.model, guidance_scale=2.0) for kind in (ImageToImage, TextToImage))
    received = from_pictures.generate(prompts, images=PICTURES[:2], strength=1.0, **settings)
    np.testing.assert_array_equal(received, from_nothing.generate(prompts, **settings))


def test_the_stronger_the_farther(pipeline):
    """On average, since a network of random weights is a poor judge."""
    inputs = {"images": PICTURES, "prompts": ["a cat"] * 3, "negative_prompts": "red"}
    kept = reconstruction(pipeline.model, PICTURES).astype(int)
    distances = [
        np.abs(pipeline.generate(**inputs, strength=strength, seed=[1, 2, 3], num_steps=10).astype(int) - kept).mean()
        for strength in (0.0, 0.03, 0.3, 1.0)
    ]
    assert distances[0] < distances[1] < distances[2] < distances[3]


def test_a_picture_does_not_depend_on_its_batch(pipeline):
    prompts, settings = (
        ["a red apple", "a cat", ""],
        {"num_steps": [1, 5, 3], "strength": [0.5, 0.9, 0.0], "guidance_scale": [1.0, 3.0, 7.5], "seed": [4, 4, 0]},
    )
    together = pipeline.generate(prompts, images=PICTURES, **settings)
    for row in range(3):
        one = {name: values[row] for name, values in settings.items()}
        alone = pipeline.generate(prompts[row], images=PICTURES[row], **one)
        assert gap(together[row], alone) <= LEVELS


# === Contract ===


def test_one_picture_for_many_prompts_and_variations(pipeline):
    inputs = {"images": PICTURES[0], "prompts": ["a cat", "red"]}
    pictures = pipeline.generate(**inputs, strength=0.5, seed=[5, 9], num_images=2)
    assert pictures.shape == (4, 8, 8, 3) and pictures.dtype == np.uint8
    assert gap(pictures[0], pictures[1]) > LEVELS
    alone = pipeline.generate("red", images=PICTURES[0], strength=0.5, seed=10)
    assert alone.shape == (8, 8, 3) and gap(pictures[3], alone) <= LEVELS


def test_float_pictures(pipeline):
    images = PICTURES[0].astype("float64") / 127.5 - 1.0
    first, second = (pipeline.generate("a cat", images=given, strength=0.5, seed=1) for given in (PICTURES[0], images))
    assert gap(first, second) <= 1


def test_callback_sees_the_steps_that_are_taken(pipeline):
    seen = []

    def callback(step, num_steps, decode):
        seen.append((step, num_steps))

    inputs = {"images": PICTURES[:2], "prompts": ["a cat", "red"]}
    settings = {"num_steps": [10, 4], "strength": [0.25, 1.0], "seed": 1}
    pictures = pipeline.generate(**inputs, callback=callback, **settings)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert gap(pictures, pipeline.generate(**inputs, **settings)) <= LEVELS
    seen.clear()
    pipeline.generate(**inputs, callback=callback, strength=0.0)
    assert seen == []


@pytest.mark.slow
def test_from_preset(plain, tmp_path):
    plain.save_to_preset(tmp_path)
    loaded = ImageToImage.from_preset(tmp_path, num_steps=2)
    assert type(loaded) is ImageToImage and (loaded.num_steps, loaded.guidance_scale) == (2, 2.0)
    assert type(TextToImage.from_preset(tmp_path)) is TextToImage
    expected = ImageToImage(plain.model, num_steps=2, guidance_scale=2.0)
    first, second = (each.generate("a cat", images=PICTURES[0], seed=1) for each in (loaded, expected))
    assert gap(first, second) <= 1


def test_from_pipeline(plain):
    """The same model, settings and compiled functions; other settings are its own."""
    editor = ImageToImage.from_pipeline(plain, num_steps=2)
    assert editor.model is plain.model and (editor.num_steps, plain.num_steps) == (2, 3)
    plain.generate("a cat", seed=1)
    count = len(plain._loops)
    received = editor.generate("a cat", images=PICTURES[0], strength=1.0, seed=1)
    assert len(plain._loops) == count
    np.testing.assert_array_equal(received, plain.generate("a cat", seed=1, num_steps=2))


@pytest.mark.slow
def test_from_pipeline_of_another_size():
    """The images are those of a pipeline that was made for that size."""
    settings = {"num_steps": 2, "sampler": "ddpm"}
    model = tiny_latent_diffusion(unet=tiny_unet(latent_shape=(None, None, 3)))
    first = TextToImage(model, (8, 8), **settings)
    first.generate("a cat", seed=1)
    received = TextToImage.from_pipeline(first, image_size=(12, 10)).generate("a cat", seed=1)
    expected = TextToImage(model, (12, 10), **settings).generate("a cat", seed=1)
    assert received.shape == (12, 10, 3) and gap(received, expected) <= 1
    editor = ImageToImage.from_pipeline(first, image_size=(12, 10))
    images = np.stack([received] * 2)
    made = editor.generate(["a cat", "red"], images=images, strength=0.5, seed=1)
    assert made.shape == (2, 12, 10, 3)


@pytest.mark.parametrize(
    "inputs, settings, message",
    [
        ({}, {"strength": 1.5}, "`strength` must be a number from 0 to 1. Received: strength=1.5"),
        ({}, {"strength": -0.1}, "`strength` must be a number"),
        ({}, {"strength": float("nan")}, "`strength` must be a number"),
        ({}, {"strength": [0.5, 0.5]}, "`strength` must be one value, or one for each of the 1 prompts"),
        ({"images": PICTURES[:, :6]}, {}, r"`images` must have shape \(8, 8, 3\).*images.shape=\(3, 6, 8, 3\)"),
        ({"images": PICTURES[:2]}, {}, r"`images` must have shape.*\(1, 8, 8, 3\)"),
        ({"images": PICTURES[0].astype("float32")}, {}, r"`images` must be uint8 in \[0, 255\] or float in \[-1, 1\]"),
        ({"images": PICTURES[0].astype("int64")}, {}, "`images` must be uint8.*Received: int64"),
        ({"images": np.full((8, 8, 3), np.nan)}, {}, "`images` must be uint8"),
        ({"masks": np.ones((8, 8))}, {}, "ImageToImage does not take `masks`"),
        ({}, {"keep_pixels": True}, "`keep_pixels` goes with `masks`, not with this ImageToImage"),
    ],
)
def test_wrong_inputs(plain, inputs, settings, message):
    pipeline = ImageToImage(plain.model, num_steps=3)
    with pytest.raises(ValueError, match=message):
        pipeline.generate("a cat", **{"images": PICTURES[0], **inputs}, **settings)


def test_no_image(pipeline):
    with pytest.raises(ValueError, match="ImageToImage needs `images`"):
        pipeline.generate("a cat")
