"""The stage between, on a folder of images."""

import json

import numpy as np
import pytest
from harness import tiny_autoencoder
from PIL import Image

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
        made = {path.stem: json.loads(path.read_text())["records"] for path in tmp_path.glob("latents_*.json")}
        return {name: "".join(record["caption"] for (record,) in records) for name, records in made.items()}

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


def test_stage_one_comes_first(tmp_path):
    with pytest.raises(ValueError, match="run `latentdiff train autoencoder` first"):
        encode_latents(Run(Experiment(), tmp_path), tmp_path)
