"""Real images with captions, to explain with: from files, folders or parquet shards."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from latentdiff.data.images import to_rgb

SUFFIXES = {".jpeg", ".jpg", ".png", ".webp"}


@dataclasses.dataclass(frozen=True)
class RealPictures:
    """Captioned images.

    Attributes:
        images: uint8 array (n, height, width, 3).
        captions: n strings.
        labels: n strings, what each shows: the column `label` where there is one, else the caption.
        training: bool array (n,), whether a model is known to have been trained on it: all of a split named "train".
    """

    images: np.ndarray
    captions: list[str]
    labels: list[str]
    training: np.ndarray

    @property
    def kind(self):
        """What the images of `held_out` may be called: without a split the model may have seen them."""
        return "held-out" if 0 < self.training.sum() < len(self.training) else "real"

    def held_out(self, count, seed=0):
        """Rows of `count` images that no training saw (of all, where there are none such), in random order."""
        rows = np.flatnonzero(~self.training)
        rows = rows if len(rows) else np.arange(len(self.captions))
        return np.random.default_rng(seed).permutation(rows)[:count]


def load_real_pictures(paths, image_size):
    """Reads images and what they show.

    Args:
        paths: list of paths: image files, parquet shards with the columns `image` and `caption` (optional: `label`
            and `split`), or folders of one kind of these. The caption of a image file stands in the `metadata.jsonl`
            of the folder, else in the `.txt` file beside it, else it is its name.
        image_size: (height, width); images are cropped to these proportions and resized.

    Raises:
        ValueError: nothing there, or something that can't be read; names it.
    """
    rows = [row for path in paths for row in _read(Path(path))]
    images, captions, labels, training = zip(*[(_decode(data, image_size), *rest) for data, *rest in rows], strict=True)
    return RealPictures(np.stack(images), list(captions), list(labels), np.array(training))


def _read(path):
    """(bytes, caption, label, whether trained on) of each image in a file or folder."""
    if path.is_file():
        return _read_parquet(path) if path.suffix.lower() == ".parquet" else [_read_picture(path)]
    if (path / "metadata.jsonl").is_file():
        return _read_metadata(path)
    shards, pictures = (
        sorted(file for file in path.rglob("*") if file.suffix.lower() in kinds) for kinds in ({".parquet"}, SUFFIXES)
    )
    if not (shards or pictures):
        raise ValueError(f"`paths` must hold pictures or parquet shards. Received: {path}")
    return [row for shard in shards for row in _read_parquet(shard)] or [_read_picture(file) for file in pictures]


def _read_picture(file):
    text = file.with_suffix(".txt")
    caption = text.read_text(encoding="utf-8").strip() if text.is_file() else file.stem.replace("-", " ")
    return file.read_bytes(), caption, caption, False


def _read_metadata(folder):
    lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    for row in map(json.loads, filter(str.strip, lines)):
        caption = row["caption"] if "caption" in row else row["text"]
        yield (folder / row["file_name"]).read_bytes(), caption, row.get("label", caption), row.get("split") == "train"


def _read_parquet(file):
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError('parquet shards need pyarrow: pip install "latentdiff[docs]"') from error
    names = parquet.read_schema(file).names
    if not {"image", "caption"} <= set(names):
        raise ValueError(f"`paths` must name shards with the columns image and caption. Received: {file} with {names}")
    wanted = [name for name in ("image", "caption", "label", "split") if name in names]
    for row in parquet.read_table(file, columns=wanted).to_pylist():
        data = row["image"]["bytes"] if isinstance(row["image"], dict) else row["image"]
        yield data, row["caption"], row.get("label", row["caption"]), row.get("split") == "train"


def _decode(data, image_size):
    height, width = image_size
    try:
        image = to_rgb(Image.open(io.BytesIO(data)))
    except OSError as error:
        raise ValueError(f"`paths` must hold readable pictures. Received: {error}") from error
    scale = min(image.width / width, image.height / height)
    left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
    box = (left, top, left + scale * width, top + scale * height)
    if scale == 1:
        return np.asarray(image.crop([round(side) for side in box]))
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS, box=box))
