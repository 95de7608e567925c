"""Images that do not fit into memory: both stages from every kind of source."""

import numpy as np
import pytest
from harness import assert_close, tiny_text_to_image
from PIL import Image
from sources_of_all_kinds import KINDS, records_of, some_images, write_folder
from tiny_run import write_experiment

from latentdiff.data import image_rows
from latentdiff.data.batches import Batches
from latentdiff.data.image_rows import open_images
from latentdiff.data.images import ImageForm
from latentdiff.recipes.autoencoder import train_autoencoder
from latentdiff.recipes.experiments import load_experiment
from latentdiff.recipes.run import Run

IMAGES = some_images(9)
FEW = {"autoencoder_epochs": 1, "autoencoder_passes": 1, "autoencoder_batch_size": 2, "epochs": 1, "passes": 2}


@pytest.fixture
def no_memory(monkeypatch):
    """Within it no image fits into memory."""
    monkeypatch.setattr(image_rows, "MEMORY_SHARE", 0.0)


@pytest.fixture
def train_first(tmp_path):
    """Function (source, name of the run, **changes) -> the autoencoder of stage one."""

    def train(source, name, skip_corrupt=False, **changes):
        write_experiment(tmp_path / "experiment.py", 1e-2, **{**FEW, **changes})
        experiment = load_experiment(str(tmp_path / "experiment.py"))
        return train_autoencoder(Run(experiment, tmp_path / name), source, skip_corrupt=skip_corrupt)

    return train


@pytest.fixture
def nine(tmp_path):
    (tmp_path / "nine").mkdir()
    return write_folder(tmp_path / "nine", records_of(IMAGES))


def test_the_reader_decides_by_size(nine, monkeypatch):
    inside = open_images(nine, ImageForm(8), "train")
    assert inside.in_memory and inside.shape == (6, 8, 8, 3)
    monkeypatch.setattr(image_rows, "total_memory", lambda: 4 * inside.nbytes - 1)
    outside = open_images(nine, ImageForm(8), "train")
    assert not outside.in_memory and outside.shape == inside.shape
    np.testing.assert_array_equal(outside[:], inside[:])
    np.testing.assert_array_equal(outside[np.array([4, 1])], inside[np.array([4, 1])])
    for images in (inside, outside):
        np.testing.assert_array_equal(images[:], IMAGES[[0, 1, 3, 4, 6, 7]])


def test_what_fits_into_memory_or_not_trains_alike(nine, train_first, monkeypatch, eagerly):
    """To the bit, corrupt images left out, in the processes of this test."""
    (nine / "0003.png").write_bytes(b"no image")
    weights = []
    for share in (1.0, 0.0):
        monkeypatch.setattr(image_rows, "MEMORY_SHARE", share)
        with pytest.warns(UserWarning, match=r"Left out 1 corrupt of 9 images: .*0003.png"):
            trained = train_first(nine, str(share), skip_corrupt=True, flip=True, read_processes=0)
        weights.append(trained.get_weights())
    assert_close(*weights, 0.0)


def test_random_crops_need_no_memory(nine):
    for row in range(9):
        pixels = np.random.default_rng(row).integers(0, 256, (8, 24, 3), "uint8")
        Image.fromarray(pixels).save(nine / f"{row:04}.png")
    images = open_images(nine, ImageForm(8, crop="random"))
    assert not images.in_memory
    batches = Batches({"images": images}, 9, shuffle=False)
    first = batches[0]["images"]
    np.testing.assert_array_equal(batches[0]["images"], first)
    batches.set_epoch(1)
    assert (batches[0]["images"] != first).any()
    np.testing.assert_array_equal(images[:], open_images(nine, ImageForm(8))[:])


def test_a_corrupt_image_ends_training_with_its_name(nine, train_first, no_memory, eagerly):
    (nine / "0003.png").write_bytes(b"no image")
    for processes in (0, 1):
        with pytest.raises(ValueError, match=r"--skip-corrupt.*0003.png is no image, or of an unknown format$"):
            train_first(nine, "run", read_processes=processes)


@pytest.mark.parametrize("kind", KINDS)
def test_workers_read_each_kind_of_source(kind, tmp_path, no_memory):
    source = KINDS[kind](tmp_path, records_of(IMAGES))
    images = open_images(source, ImageForm(8), "validation")
    batches = Batches({"images": images}, 2, permutation=images.permutation, processes=1)
    np.testing.assert_array_equal(batches[0]["images"], IMAGES[2::3][batches.reader.order(0)[:2]])
    batches.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_both_stages_from_each_kind_of_source(kind, tmp_path, stage, no_memory, capsys, eagerly):
    """With worker processes."""
    folder = tmp_path / kind
    folder.mkdir()
    source = KINDS[kind](folder, records_of(IMAGES))
    tiny_text_to_image().save_to_preset(tmp_path / "start")
    write_experiment(tmp_path / "experiment.py", 1e-2, split="train", **FEW)
    stage("autoencoder", "--data", source)
    said = capsys.readouterr().out
    assert "6 images, 3 steps an epoch" in said and "median PSNR of 6 training images" in said
    assert (tmp_path / "run/autoencoder.png").is_file()
    stage("latents", "--data", source)
    stage("diffusion", "--init", tmp_path / "start")
    assert (tmp_path / "run/preset/config.json").is_file()
