import copy
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from harness import first_fast, gap, tiny_autoencoder
from keras import ops
from PIL import Image

from benchmarks import baselines as bench
from latentdiff.data.captioned_images import CaptionedImages
from latentdiff.diffusion import noise
from latentdiff.explain.baselines import MAKERS
from latentdiff.models.pixels import to_uint8
from latentdiff.recipes.baselines.networks import CODE_DIM, build_generator, caption_features


@pytest.fixture(scope="module")
def trained(pipeline, tmp_path_factory):
    """A folder with both baselines, untrained, and an autoencoder that is not the pipeline's."""
    folder, shape = tmp_path_factory.mktemp("run"), (8, 8, pipeline.latent_shape[-1])
    tiny_autoencoder().save(folder / "autoencoder.keras")
    for name in ("gan", "vae"):
        generator = build_generator(shape, CODE_DIM, pipeline.model.text_encoder.context_dim, 16)
        generator.save(folder / f"{name}.keras")
    return folder


@pytest.fixture(scope="module")
def baseline(pipeline, trained):
    times = {"baselines_trained": "1 s", "preset_trained": "9 s"}
    return bench.load_makers(SimpleNamespace(run=trained, same_time=None, batch_size=2, **times), pipeline)["gan"][1]


@pytest.mark.parametrize("same_time, own_time", first_fast([("short", "2 s"), (None, None), ("short", None)]))
def test_a_diffusion_model_of_the_same_time_may_be_missing(same_time, own_time, pipeline, trained, monkeypatch):
    short = copy.copy(pipeline)
    monkeypatch.setattr(bench.TextToImage, "from_preset", {"short": short}.__getitem__)
    times = {"baselines_trained": "1 s", "same_time_trained": own_time, "preset_trained": "9 s"}
    args = SimpleNamespace(run=trained, same_time=same_time, batch_size=2, **times)
    makers = bench.load_makers(args, pipeline)
    assert list(makers) == [name for name in MAKERS if same_time or name != "diffusion"]
    assert makers["diffusion_in_full"][1].pipeline is pipeline
    assert {name: made[0] for name, made in makers.items() if name != "diffusion"} == {
        "vae": "1 s",
        "gan": "1 s",
        "diffusion_in_full": "9 s",
    }
    assert not same_time or makers["diffusion"][1].pipeline is short and makers["diffusion"][0] == (own_time or "1 s")


@pytest.mark.slow
def test_a_baseline_draws_codes_of_the_seeds_and_features_of_the_prompts(baseline, pipeline, trained):
    prompts, seeds = ["a cat", "red apple", "a cat"], [3, 3, 4]
    images = baseline(prompts, seeds)
    codes = ops.convert_to_numpy(noise.normal(np.array(seeds), (CODE_DIM,)))
    latents = baseline.generator([codes, caption_features(pipeline.model.text_encoder, prompts)])
    own, other = keras.saving.load_model(trained / "autoencoder.keras"), pipeline.model.autoencoder
    expected = ops.convert_to_numpy(to_uint8(own.decode(latents)))
    assert gap(images, expected) <= 1 < gap(images, ops.convert_to_numpy(to_uint8(other.decode(latents))))
    assert np.abs(images[0].astype(int) - images[2]).max() > 1


def real(count=12):
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), "uint8")
    splits = ["validation"] * 2 + ["train"] * (count - 2)
    records = [{"id": str(row % 4), "style": "flat", "split": split} for row, split in enumerate(splits)]
    return CaptionedImages(images, [f"thing {row % 4}, flat" for row in range(count)], records)


class Copier:
    """Answers with a real image of what is asked, whatever the seed."""

    calls = 1

    def __init__(self, pictures):
        self.known = dict(zip(pictures.captions, pictures.images, strict=True))

    def __call__(self, prompts, seeds):
        return np.stack([self.known[prompt] for prompt in prompts])


def test_measures_of_copies_and_of_noise():
    pictures = real()

    def features(images):
        return images.reshape(len(images), -1) / 128.0 - 1.0

    def distance(first, second):
        return np.abs(first - second).mean((1, 2, 3))

    measured = bench.Bench(pictures, features, distance, num_images=8, batch_size=4)
    copies = measured.measure(Copier(pictures))
    assert copies["emoji_at_5"] == 1.0 and copies["diversity"] == 0.0 and copies["calls"] == 1
    assert len(measured.asked) == 8 and copies["seconds"] > 0

    def random_images(prompts, seeds):
        return np.stack([np.random.default_rng(seed).integers(0, 256, (8, 8, 3), "uint8") for seed in seeds])

    random_images.calls = 1
    noisy = measured.measure(random_images)
    assert noisy["diversity"] == pytest.approx(2 / 3, abs=0.05)  # mean distance of two uniform draws from [-1, 1]
    assert noisy["frechet"] > copies["frechet"]


def test_sheet(tmp_path):
    def grey(prompts, seeds):
        return np.broadcast_to(np.uint8(seeds)[:, None, None, None], (len(prompts), 4, 4, 3))

    bench.save_sheet(tmp_path / "grey.webp", grey)
    with Image.open(tmp_path / "grey.webp") as image:
        sheet = np.asarray(image)
    assert sheet.shape == (8, 32, 3) and sheet[0, 0, 0] == bench.SHEET_SEED and sheet[4, 28, 0] == bench.SHEET_SEED + 15
