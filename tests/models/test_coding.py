import keras
import numpy as np
import pytest
from harness import arrays, gap, needs_tensorflow, normal, randomize, tiny_autoencoder, tiny_latent_diffusion, tiny_unet

from latentdiff import ImageToImage, TextToImage
from latentdiff.evaluation.psnr import psnr
from latentdiff.models.coding import coders

PROMPT = "a red apple"


@pytest.fixture(scope="module")
def pipeline():
    """Images of 24 x 16 pixels and their latents of 12 x 8."""
    keras.utils.set_random_seed(0)
    model = tiny_latent_diffusion(unet=tiny_unet(latent_shape=(None, None, 3)))
    return TextToImage(model, image_size=(24, 16), num_steps=2, guidance_scale=2.0)


def test_what_differs_are_the_statistics_of_groups():
    """A map that repeats itself has the same in each tile; one that brightens from left to right has not."""
    autoencoder = randomize(tiny_autoencoder())
    whole, tiled = (coders(autoencoder, size)[1] for size in (None, 32))
    repeated = np.tile(normal(0, 1, 4, 4, 3), (1, 6, 6, 1))
    rising = repeated + np.linspace(-3, 3, 24, dtype="float32")[None, None, :, None]
    near, far = (psnr(arrays(tiled(latents)), arrays(whole(latents)))[0] for latents in (repeated, rising))
    assert near > far + 6, (near, far)


def test_both_ways(pipeline):
    """Encoded and decoded in tiles, images are near the whole ones, and tiles as large as the image change nothing."""
    autoencoder, images = pipeline.model.autoencoder, (127 * (1 + np.tanh(normal(0, 2, 24, 16, 3)))).astype("uint8")
    encode, decode = coders(autoencoder, None)
    latents = arrays(encode(images))
    same_encode, same_decode = coders(autoencoder, 24)
    np.testing.assert_array_equal(arrays(same_encode(images)), latents)
    np.testing.assert_array_equal(arrays(same_decode(latents)), arrays(decode(latents)))
    tiled_encode, tiled_decode = coders(autoencoder, 12)
    received = arrays(tiled_encode(images))
    assert (
        received.shape == latents.shape and 0 < np.square(received - latents).mean() < 0.2 * np.square(latents).mean()
    )
    assert psnr(arrays(tiled_decode(latents)), arrays(decode(latents))).min() > 15


def test_generate(pipeline):
    tiled = TextToImage.from_pipeline(pipeline, tile_size=12)
    settings = {"seed": 3, "callback": lambda *step: None}
    received, expected = tiled.generate(PROMPT, **settings), pipeline.generate(PROMPT, **settings)
    assert received.shape == expected.shape and psnr(received[None], expected[None]) > 15
    assert gap(received, expected) > 2
    editor = ImageToImage.from_pipeline(tiled)
    assert editor.tile_size == 12 and editor._decode is tiled._decode is not pipeline._decode
    made = editor.generate(PROMPT, images=expected, strength=0.0, seed=1)
    encode, decode = coders(pipeline.model.autoencoder, 12)
    assert gap(made, arrays(decode(encode(expected[None])))[0]) <= 2


@needs_tensorflow
@pytest.mark.slow
def test_saved_model(pipeline, tmp_path):
    """A served model in tiles makes the images of `generate` in tiles, and needs no XLA."""
    import tensorflow as tf

    tiled = TextToImage.from_pipeline(pipeline, tile_size=12)
    loaded = tf.saved_model.load(str(tiled.export(tmp_path / "tiny" / "1", max_steps=10)))  # compared with Keras, too
    latents = normal(0, 3, *tiled.latent_shape)
    received = loaded.signatures["decode"](latents=tf.constant(latents))["images"]
    assert gap(received, coders(tiled.model.autoencoder, 12)[1](latents)) <= 1
    images = (127 * (1 + np.tanh(normal(0, 2, 24, 16, 3)))).astype("uint8")
    received = loaded.signatures["encode_image"](images=tf.constant(images))["latents"]
    np.testing.assert_allclose(received, coders(tiled.model.autoencoder, 12)[0](images), atol=1e-4)


@pytest.mark.parametrize("tile_size", [2, 13, 0, 12.0, True, "12"])
def test_wrong_sizes(pipeline, tile_size):
    with pytest.raises(ValueError, match="`tile_size` must be a multiple of 2 of at least 4, or None. Received: tile_"):
        TextToImage.from_pipeline(pipeline, tile_size=tile_size)
