"""Writes emoji_128_images.webp: what the shipped preset drew on commit 94b4a44 for emoji_128_requests.json.

Run once, on that commit: python tests/golden/make_emoji_128_images.py saved_models/emoji-128
A later version must draw the same; the file is not written again when it does not.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from latentdiff.cli import main

HERE = Path(__file__).parent
IMAGES = HERE / "emoji_128_images.webp"
SIDE, COLUMNS = 128, 6


def requests():
    """The arguments of `latentdiff generate`, one list for each image."""
    return json.loads((HERE / "emoji_128_requests.json").read_text(encoding="utf-8"))


def draw(arguments, preset, folder, first):
    """The uint8 image (128, 128, 3) of one list of arguments; `first` is the image that the edits start from."""
    mask = np.zeros((SIDE, SIDE), "uint8")
    mask[:, SIDE // 2 :] = 255
    files = {"IMAGE": folder / "image.png", "MASK": folder / "mask.png"}
    if first is not None:
        Image.fromarray(first).save(files["IMAGE"])
    Image.fromarray(mask).save(files["MASK"])
    output = folder / "output.png"
    arguments = [str(files.get(argument, argument)) for argument in arguments]
    if main(["generate", *arguments, "--preset", str(preset), "--output", str(output)]):
        raise SystemExit(f"latentdiff generate failed for {arguments}")
    return np.asarray(Image.open(output))


def draw_all(preset, first=None):
    """All images, uint8 (24, 128, 128, 3); the edits start from `first`, or from the first image."""
    images = []
    with tempfile.TemporaryDirectory() as folder:
        for arguments in requests():
            images.append(draw(arguments, preset, Path(folder), images[0] if images and first is None else first))
    return np.stack(images)


def read_images():
    """The stored images, uint8 (24, 128, 128, 3)."""
    grid = np.asarray(Image.open(IMAGES).convert("RGB"))
    rows = grid.shape[0] // SIDE
    return grid.reshape(rows, SIDE, COLUMNS, SIDE, 3).swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)


if __name__ == "__main__":
    images = draw_all(Path(sys.argv[1]))
    rows = len(images) // COLUMNS
    grid = images.reshape(rows, COLUMNS, SIDE, SIDE, 3).swapaxes(1, 2).reshape(rows * SIDE, COLUMNS * SIDE, 3)
    Image.fromarray(grid).save(IMAGES, lossless=True, quality=100, method=6)
