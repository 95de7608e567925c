import keras
import numpy as np
import pytest
from harness import arrays, gap, normal, tiny_text_to_image

from latentdiff import ImageToImage, Inpaint, NoiseSchedule
from latentdiff.diffusion.denoiser import KnownRegion
from latentdiff.models.pixels import to_uint8

LEVELS = 2  # of 255
PICTURES = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype="uint8")
MASK = np.zeros((8, 8), bool)
MASK[5:, 2:5] = True  # touches the latents of rows 2, 3 and columns 1, 2


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return tiny_text_to_image().model


@pytest.fixture(scope="module")
def pipeline(model):
    return Inpaint(model, num_steps=3, guidance_scale=2.0)


def inputs(masks=MASK, **changes):
    return {"images": PICTURES[0], "masks": masks, "prompts": "a cat", **changes}


# === Laws ===


@pytest.mark.parametrize("sampler", ["ddim", "unipc"])
def test_the_known_latents_are_kept(pipeline, sampler, monkeypatch):
    """And all that a mask touches is painted."""
    known = arrays(pipeline.model.autoencoder.encode(PICTURES[:1]))
    seen = []
    monkeypatch.setattr(pipeline, "_decode", lambda latents: seen.append(arrays(latents)) or PICTURES[:1])
    pipeline.generate(**inputs(), seed=1, sampler=sampler)
    (received,) = seen
    repainted = np.zeros((4, 4), bool)
    repainted[2:, 1:3] = True
    np.testing.assert_allclose(received[0][~repainted], known[0][~repainted], atol=2e-4)
    assert np.abs(received[0][repainted] - known[0][repainted]).max(axis=-1).min() > 0.01
    assert np.isfinite(received).all()


def test_nothing_masked_is_the_reconstruction(pipeline, model):
    expected = arrays(to_uint8(model.autoencoder.decode(model.autoencoder.encode(PICTURES[:1]))))[0]
    assert gap(pipeline.generate(**inputs(np.zeros((8, 8), bool)), seed=1), expected) <= 1


def test_all_masked_is_image_to_image(pipeline, model):
    plain = ImageToImage(model, num_steps=3, guidance_scale=2.0)
    for strength in (0.4, 1.0):
        expected = plain.generate("a cat", images=PICTURES[0], strength=strength, seed=1)
        received = pipeline.generate(**inputs(np.ones((8, 8), int)), strength=strength, seed=1)
        assert gap(received, expected) <= 1


def test_what_is_painted_has_seen_what_is_known(pipeline):
    first, second = (pipeline.generate(**inputs(images=picture), seed=1) for picture in PICTURES)
    assert gap(first[5:, 2:5], second[5:, 2:5]) > LEVELS


def test_a_picture_does_not_depend_on_its_batch(pipeline):
    masks, settings = np.stack([MASK, MASK.T]), {"strength": [1.0, 0.5], "num_steps": [2, 5], "seed": [1, 2]}
    together = pipeline.generate(["a cat", "red"], images=PICTURES, masks=masks, **settings)
    for row in range(2):
        one = {"images": PICTURES[row], "masks": masks[row], "prompts": ["a cat", "red"][row]}
        alone = pipeline.generate(**one, **{name: values[row] for name, values in settings.items()})
        assert gap(together[row], alone) <= LEVELS


def test_known_region_is_still_a_split():
    """Signal and noise make up what was seen, on both sides of the border."""
    schedule, times = NoiseSchedule("cosine"), np.array([3.0, 700.0], "float32")
    latents, noisy, known = (normal(seed, 2, 2, 2, 3) for seed in range(3))
    repaint = np.array([[True, False], [False, True]])[None, ..., None].repeat(2, 0)
    denoiser = KnownRegion(lambda x, t: schedule.split(latents, x, t, "latents"), schedule, known, repaint)
    pred_latents, pred_noise = arrays(denoiser(noisy, times))
    np.testing.assert_array_equal(pred_latents, np.where(repaint, latents, known))
    np.testing.assert_allclose(arrays(schedule.add_noise(pred_latents, pred_noise, times)), noisy, atol=1e-4)


# === Contract ===


def test_pixels_can_be_kept(pipeline):
    kept, plain = (pipeline.generate(**inputs(), seed=1, keep_pixels=keep) for keep in (True, False))
    np.testing.assert_array_equal(kept[~MASK], PICTURES[0][~MASK])
    np.testing.assert_array_equal(kept[MASK], plain[MASK])
    floats = pipeline.generate(**inputs(images=PICTURES[0] / 127.5 - 1.0), seed=1, keep_pixels=True)
    np.testing.assert_array_equal(floats[~MASK], PICTURES[0][~MASK])


def test_variations(pipeline):
    pictures = pipeline.generate(**inputs(), seed=1, num_images=2, keep_pixels=True)
    assert pictures.shape == (2, 8, 8, 3)
    np.testing.assert_array_equal(pictures[0][~MASK], pictures[1][~MASK])
    assert gap(*pictures) > LEVELS


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"masks": MASK[:6]}, r"`masks` must have shape \(8, 8\).*Received: masks.shape=\(6, 8\)"),
        ({"masks": np.stack([MASK] * 2)}, r"`masks` must have shape.*\(2, 8, 8\)"),
        ({"masks": 255 * MASK.astype("uint8")}, r"`masks` must be bool, or 0 and 1.*Received: uint8 in \[0, 255\]"),
        ({"images": PICTURES[0, :, :4]}, "`images` must have shape"),
        ({"mask": MASK}, "Unknown setting. Did you mean 'masks'. Received: 'mask'"),
    ],
)
def test_wrong_inputs(pipeline, changes, message):
    with pytest.raises(ValueError, match=message):
        pipeline.generate(**inputs(**changes))


def test_missing_mask(pipeline):
    with pytest.raises(ValueError, match="Inpaint needs `masks`"):
        pipeline.generate("a cat", images=PICTURES[0])
