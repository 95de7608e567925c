"""The script between the stages, on a folder of pictures."""

import json

import numpy as np
import pytest
from harness import tiny_autoencoder
from PIL import Image

SPLITS = ["train", "test", "train", "train", "test", "train"]
CONFIG = """
from training.configs import my_pictures

def get_config(quick=False):
    config = my_pictures.get_config(quick)
    config.__dict__.update(image_size=8, split={split!r}, validation_split={validation_split!r})
    return config
"""


@pytest.fixture
def encode(tmp_path, run_script):
    """Function (split, validation_split) -> the captions encoded, by file name."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for row in range(len(SPLITS)):
        Image.fromarray(np.full((8, 8, 3), 40 * row, "uint8")).save(pictures / f"{row}.png")
    rows = [{"file_name": f"{row}.png", "caption": str(row), "split": split} for row, split in enumerate(SPLITS)]
    (pictures / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tiny_autoencoder().save(tmp_path / "autoencoder.keras")

    def encode(split, validation_split):
        (tmp_path / "config.py").write_text(CONFIG.format(split=split, validation_split=validation_split))
        arguments = ["--config", tmp_path / "config.py", "--data", pictures, "--output", tmp_path]
        run_script("encode_latents", *arguments)
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
