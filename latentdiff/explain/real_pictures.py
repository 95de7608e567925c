"""Real pictures with captions, to explain with: from files, folders or parquet shards."""

import dataclasses
import io
from pathlib import Path

import numpy as np
from PIL import Image

from latentdiff.images import to_rgb

SUFFIXES = {".jpeg", ".jpg", ".png", ".webp"}


@dataclasses.dataclass(frozen=True)
class RealPictures:
    """Captioned pictures.

    Attributes:
        images: uint8 array (n, height, width, 3).
        captions: n strings.
        labels: n strings, what each shows: the column `label` where there is one, else the caption.
        training: bool array (n,), whether a model has been trained on it: all of a split named "train". Pictures
            without a split have not been seen.
    """

    images: np.ndarray
    captions: list[str]
    labels: list[str]
    training: np.ndarray

    def held_out(self, count, seed=0):
        """Rows of `count` pictures that no training saw (of all, where there are none such), in random order."""
        rows = np.flatnonzero(~self.training)
        rows = rows if len(rows) else np.arange(len(self.captions))
        return np.random.default_rng(seed).permutation(rows)[:count]


def load_real_pictures(paths, image_size):
    """Reads pictures and what they show.

    Args:
        paths: list of paths: picture files, parquet shards with the columns `image` and `caption` (optional: `label`
            and `split`), or folders of one kind of these. The caption of a picture file is the text of the `.txt` file
            beside it, or its name.
        image_size: (height, width); pictures are cropped to these proportions and resized.

    Raises:
        ValueError: nothing there, or something that can't be read; names it.
    """
    rows = [row for path in paths for file in _files(Path(path)) for row in _read(file)]
    images, captions, labels, training = zip(*[(_decode(data, image_size), *rest) for data, *rest in rows], strict=True)
    return RealPictures(np.stack(images), list(captions), list(labels), np.array(training))


def _files(path):
    if path.is_file():
        return [path]
    shards, pictures = (
        sorted(file for file in path.rglob("*") if file.suffix.lower() in kinds) for kinds in ({".parquet"}, SUFFIXES)
    )
    if not (shards or pictures):
        raise ValueError(f"`paths` must hold pictures or parquet shards. Received: {path}")
    return shards or pictures


def _read(file):
    """(bytes, caption, label, whether trained on) of each picture in a file."""
    if file.suffix.lower() == ".parquet":
        yield from _read_parquet(file)
    else:
        text = file.with_suffix(".txt")
        caption = text.read_text(encoding="utf-8").strip() if text.is_file() else file.stem.replace("-", " ")
        yield file.read_bytes(), caption, caption, False


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
