"""The stage between, on a folder of images."""

import argparse
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from harness import assert_close, tiny_autoencoder, tiny_text_to_image
from PIL import Image
from tiny_run import write_experiment

from latentdiff.commands.train_options import share
from latentdiff.data import shard_cache
from latentdiff.data.latent_cache import load_latents
from latentdiff.recipes.diffusion import drawing
from latentdiff.recipes.experiment import Experiment
from latentdiff.recipes.latents import encode_latents
from latentdiff.recipes.run import Run

SPLITS = ["train", "test", "train", "train", "test", "train"]


@pytest.fixture
def encode(tmp_path):
    """Function (split, validation_split) -> the captions encoded, by file name."""
    folder = tmp_path / "images"
    folder.mkdir()
    for row in range(len(SPLITS)):
        Image.fromarray(np.full((8, 8, 3), 40 * row, "uint8")).save(folder / f"{row}.png")
    rows = [{"file_name": f"{row}.png", "caption": str(row), "split": split} for row, split in enumerate(SPLITS)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tiny_autoencoder().save(tmp_path / "autoencoder.keras")

    def encode(split, validation_split):
        experiment = Experiment(image_size=8, split=split, validation_split=validation_split)
        encode_latents(Run(experiment, tmp_path), folder)
        autoencoder = keras.saving.load_model(tmp_path / "autoencoder.keras", compile=False)
        names = sorted(path.name.removeprefix("latents_") for path in tmp_path.glob("latents_*"))
        made = {name: load_latents(tmp_path, name, autoencoder)[1] for name in names}
        return {f"latents_{name}": "".join(record["caption"] for (record,) in rows) for name, rows in made.items()}

    return encode


@pytest.mark.parametrize(
    "split, validation_split, expected",
    [
        (None, None, {"latents_train": "012345"}),
        (None, "test", {"latents_train": "012345", "latents_test": "14"}),
        ("train", "test", {"latents_train": "0235", "latents_test": "14"}),
    ],
)
def test_each_split_is_encoded_by_itself(split, validation_split, expected, encode):
    assert encode(split, validation_split) == expected


@pytest.fixture
def run(encode, tmp_path):
    """Function (**changes of the experiment) -> `Run` on the images of `encode`."""
    return lambda **changes: Run(Experiment(image_size=8, **changes), tmp_path)


def test_means_deviations_and_mirrored_images_are_cached(run, tmp_path):
    encode_latents(run(flip_latents=True), tmp_path / "images")
    autoencoder = run().load_autoencoder()
    images = np.stack([np.full((8, 8, 3), 40 * row, "uint8") for row in range(6)])
    latents, records = load_latents(tmp_path, "train", autoencoder)
    for place, pixels in enumerate((images, images[:, :, ::-1])):
        assert_close(latents[:, place], autoencoder.encode(pixels), 1e-5)
        seeds = [autoencoder.encode(pixels, sample=True, seed=seed) for seed in range(200)]
        assert_close(latents.deviations[:, place], np.std(seeds, axis=0), 0.2 * np.max(latents.deviations[:]))
    assert [record["caption"] for (record,) in records] == list("012345")


def test_shards_are_encoded_once_whoever_asks(run, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_cache, "SHARD_ROWS", 2)
    shards = tmp_path / "latents_train"

    def written():
        return {path.name: path.stat().st_mtime_ns for path in shards.iterdir() if path.is_dir()}

    encode_latents(run(), tmp_path / "images", part=(1, 2))
    first = written()
    assert set(first) == {"00001"}
    encode_latents(run(), tmp_path / "images")
    assert set(written()) == {"00000", "00001", "00002"} and written()["00001"] == first["00001"]
    whole = written()
    encode_latents(run(), tmp_path / "images")
    assert written() == whole, "nothing is encoded again"
    Image.fromarray(np.full((8, 8, 3), 255, "uint8")).save(tmp_path / "images" / "0.png")
    encode_latents(run(), tmp_path / "images")
    assert not set(written().values()) & set(whole.values()), "another image"
    latents = load_latents(tmp_path, "train", run().load_autoencoder())[0]
    assert_close(latents[0, 0], latents[5, 0], 10.0)
    assert len(latents) == 6


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "-1/2"])
def test_a_share_must_be_one(text):
    with pytest.raises(argparse.ArgumentTypeError, match="must be I/N with I from 1 to N"):
        share(text)
    assert share("2/8") == (1, 8)


# === Drawing ===


def draw_all(latents, **changes):
    experiment = Experiment(image_size=8, plain_share=1.0, **changes)
    encoder = SimpleNamespace(tokenize=lambda texts: np.array([[int(text)] for text in texts], "int32"))
    draw = drawing(latents, [[{"caption": str(row)}] for row in range(len(latents))], encoder, experiment)
    rows = np.arange(len(latents))
    return [draw({"rows": rows}, np.random.default_rng(seed)) for seed in range(300)]


def test_mirrored_images_and_samples_are_drawn_when_asked():
    class Latents(np.ndarray):
        deviations = 0.5 * np.ones((4, 2, 1, 1, 1), "float16")

    latents = np.arange(8.0, dtype="float32").reshape(4, 2, 1, 1, 1)
    drawn = [batch["latents"].ravel() for batch in draw_all(latents, flip_latents=True)]
    assert np.mean([values % 2 for values in drawn]) == pytest.approx(0.5, abs=0.05)
    np.testing.assert_array_equal(np.unique(drawn), np.arange(8))
    plain = latents[:, :1]
    assert all((batch["latents"] == plain[:, 0]).all() for batch in draw_all(plain))
    sampled = np.array([batch["latents"].ravel() for batch in draw_all(plain.view(Latents), sample_latents=True)])
    assert sampled.dtype == np.float32
    np.testing.assert_allclose(sampled.mean(axis=0), plain.ravel(), atol=0.1)
    np.testing.assert_allclose(sampled.std(axis=0), 0.5, atol=0.06)


def test_a_cache_without_what_is_asked_for_is_refused():
    latents = np.zeros((4, 1, 1, 1, 1), "float32")
    with pytest.raises(ValueError, match="`flip_latents` must be that of the cache: run `latentdiff train latents`"):
        draw_all(latents, flip_latents=True)
    with pytest.raises(ValueError, match="`sample_latents` needs a cache with deviations"):
        draw_all(latents, sample_latents=True)


def test_stage_one_comes_first(tmp_path):
    with pytest.raises(ValueError, match="run `latentdiff train autoencoder` first"):
        encode_latents(Run(Experiment(), tmp_path), tmp_path)


def test_the_size_of_the_images_is_an_option(stage, folder, tmp_path, capsys):
    tiny_text_to_image().save_to_preset(tmp_path / "start")
    write_experiment(tmp_path / "experiment.py", 1e-2)
    stage("latents", "--data", folder, "--init", tmp_path / "start", "--image-size", "4")
    (path,) = (tmp_path / "run").glob("latents_train/*/latents.npy")
    assert np.load(path).shape == (4, 1, 2, 2, 3)
    assert "--image-size 4" in capsys.readouterr().out.splitlines()[-1]
