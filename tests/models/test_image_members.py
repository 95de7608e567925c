"""What a network is told of the image: laws of the masks, and training, sampling and presets of a network that sees."""

import numpy as np
import pytest
from harness import (
    arrays,
    assert_close,
    compile_quietly,
    gap,
    needs_tensorflow,
    normal,
    tiny_latent_diffusion,
    tiny_unet,
)

from latentdiff import ImageToImage, Inpaint, TextToImage
from latentdiff.models import image_members

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype="uint8")
MASKS = np.zeros((4, 8, 8), bool)
MASKS[:, 3:, 2:] = True  # the first pixel of a latent decides: rows from 2 on, columns from 1 on


@pytest.fixture(scope="module")
def model():
    return tiny_latent_diffusion(unet=tiny_unet(sees_mask=True))


# === Laws ===


def test_member_is_mask_and_latents_of_the_image_with_grey_where_masked(model):
    member = arrays(image_members.masked_latents(model.autoencoder.encode, IMAGES, MASKS))
    assert member.shape == (4, 4, 4, 1 + 3)
    np.testing.assert_array_equal(member[0, :, :, 0], np.pad(np.ones((2, 3)), [(2, 0), (1, 0)]))
    grey = np.where(MASKS[..., None], 0.0, IMAGES / 127.5 - 1.0).astype("float32")
    np.testing.assert_allclose(member[..., 1:], arrays(model.autoencoder.encode(grey)), atol=1e-5)


def test_random_masks_cover_everything_in_a_quarter_else_boxes():
    masks = arrays(image_members.random_masks(normal(0, 2000, image_members.NUM_DRAWS), (16, 24)))
    assert masks.shape == (2000, 16, 24) and masks.dtype == bool
    assert masks.all((1, 2)).mean() == pytest.approx(image_members.WHOLE_SHARE, abs=0.03)
    parts = masks[~masks.all((1, 2))]
    # A point lies between two uniform edges with the probability 2 x (1 - x), in each of two directions.
    inside = [2 * x * (1 - x) for x in ((np.arange(16) + 0.5) / 16, (np.arange(24) + 0.5) / 24)]
    expected = 1 - (1 - np.outer(*inside)) ** image_members.NUM_BOXES
    np.testing.assert_allclose(parts.mean(0), expected, atol=0.06)


def test_a_network_without_the_input_gets_no_member(adaptable):
    assert image_members.of_no_image(adaptable.conditioning_names, adaptable.autoencoder, (8, 8), 2) == {}
    assert image_members.of_masks(adaptable.conditioning_names, None, IMAGES, MASKS) == {}
    assert image_members.of_training(adaptable.conditioning_names, adaptable.autoencoder, IMAGES, IMAGES, None) == {}


# === Sampling ===


@pytest.fixture(scope="module")
def painter(model):
    return Inpaint(model, image_size=8, num_steps=2, guidance_scale=2.0)


def test_without_an_image_everything_is_painted(painter):
    """Text to image is inpainting with all masked, and image to image starts from the image it does not see."""
    given = {"images": IMAGES[0], "masks": np.ones((8, 8), bool)}
    plain, variant = (kind.from_pipeline(painter) for kind in (TextToImage, ImageToImage))
    assert gap(plain.generate("a cat", seed=1), painter.generate("a cat", **given, seed=1)) <= 1
    repainted = variant.generate("a cat", images=IMAGES[0], strength=0.5, seed=1)
    assert gap(repainted, painter.generate("a cat", **given, strength=0.5, seed=1)) <= 1


def test_what_is_known_sways_what_is_painted(painter):
    prompts, given = ["a cat", "a cat:0.5 | red:0.5"], {"masks": MASKS[:2], "seed": 1}
    together = painter.generate(prompts, images=IMAGES[:2], **given)
    assert gap(together[0], painter.generate("a cat", images=IMAGES[0], masks=MASKS[0], seed=1)) <= 1
    assert gap(together, painter.generate(prompts, images=IMAGES[2:], **given)) > 2


# === Training ===


def test_fit_draws_masks_and_keeps_given_members(model):
    data = {"images": IMAGES, "captions": ["a cat", "red", "blue", "flat"]}
    other = tiny_latent_diffusion(unet=tiny_unet(sees_mask=True))
    kernel = other.unet.get_layer("conv_in").kernel
    start = arrays(kernel.value)
    compile_quietly(other, optimizer="sgd").fit(data, batch_size=2, verbose=0)
    assert np.abs(arrays(kernel.value) - start).max(axis=(0, 1, 3)).min() > 0  # also for the mask and its latents
    given = arrays(image_members.masked_latents(model.autoencoder.encode, IMAGES, MASKS))
    fixed = [arrays(model({**data, **more})["prediction"]) for more in ({}, {}, {"masked_latents": given})]
    np.testing.assert_array_equal(fixed[0], fixed[1])  # without training the masks are always the same
    assert np.abs(fixed[0] - fixed[2]).max() > 1e-3
    cached = {"latents": arrays(model.autoencoder.encode(IMAGES)), "captions": data["captions"]}
    assert_close(model({**cached, "masked_latents": given})["prediction"], fixed[2], 1e-5)
    with pytest.raises(ValueError, match="`data` must hold 'images', or 'masked_latents' beside its 'latents'"):
        model(cached)


# === Exports ===


@needs_tensorflow
@pytest.mark.slow
def test_served_model_paints_everything(model, tmp_path):
    """The export compares its images with those of Keras."""
    import tensorflow as tf

    plain = TextToImage(model, image_size=8, num_steps=2, guidance_scale=2.0)
    plain.export(tmp_path / "painter" / "1")
    signatures = tf.saved_model.load(tmp_path / "painter" / "1").signatures
    made = signatures["encode_text"](prompts=tf.constant(["a cat"]))["masked_latents"]
    np.testing.assert_array_equal(made[..., 0], np.ones((1, 4, 4)))
    assert "masked_latents" in signatures["denoise"].structured_input_signature[1]


@needs_tensorflow
def test_no_litert_files(model, tmp_path):
    plain = TextToImage(model, image_size=8, num_steps=2, guidance_scale=2.0)
    with pytest.raises(ValueError, match="must take text alone to be a LiteRT file. Received: .*'masked_latents'"):
        plain.export_litert(tmp_path / "edge")
