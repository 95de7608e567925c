"""Captioned images from any source: the one reader of the package."""

import dataclasses
import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from latentdiff.data.images import ImageForm
from latentdiff.data.memory import total_memory
from latentdiff.data.rows import Subset, shorten
from latentdiff.data.sources import open_source
from latentdiff.settings.prompt_syntax import escape

AT_ONCE = 256  # images that wait for whoever takes them


@dataclasses.dataclass
class CaptionedImages:
    """Images in memory, with captions.

    Attributes:
        images: uint8 array, (n, height, width, 3).
        captions: n strings.
        records: n dicts with all other columns of the source, such as `label`, `style` or `split`.
    """

    images: np.ndarray
    captions: list[str]
    records: list[dict]

    def __len__(self):
        return len(self.captions)

    @property
    def prompts(self):
        """The captions as prompts: what looks like prompt syntax in them is escaped, as they are literal text."""
        return [escape(caption) for caption in self.captions]

    def select(self, rows):
        """The images of a boolean mask of length n, or of integer indices, as new `CaptionedImages`."""
        rows = np.asarray(rows)
        if rows.dtype == bool and rows.shape != (len(self),):
            raise ValueError(f"A mask in `rows` must have shape ({len(self)},). Received: rows of shape {rows.shape}")
        rows = np.arange(len(self))[rows if rows.size else []]
        return CaptionedImages(
            self.images[rows], [self.captions[row] for row in rows], [self.records[row] for row in rows]
        )


def load_images(source, image_size, split=None, skip_corrupt=False, limit=None, background="white"):
    """Reads captioned images. All of the package reads them here, or, where memory can't hold them, as `ImageRows`.

    A source is one of these:

    - a folder of images with a `metadata.jsonl`: one object a line with `file_name` and `caption` (or `text`);
    - a folder of images, subfolders included, with a caption in a `.txt` file of the same name beside each, or one
      such image;
    - parquet: a file, a glob or a folder of shards with the columns `image` (bytes, or a struct with `bytes`) and
      `caption` (or `text`);
    - tar shards (WebDataset), likewise: `cat.jpg` and behind it `cat.txt`, or `cat.json` with a `caption` (or `text`);
    - ArrayRecord shards, likewise: `tf.train.Example` records with features `image` (bytes) and `caption` (or `text`);
    - `tfds:NAME`, such as `tfds:cifar10?data_dir=tfds&caption=label`: the caption is a text feature, or the name of the
      label ("_" becomes " "). The options are `data_dir`, `image` and `caption` (names of features). Records keep
      texts, labels, scalars and lists of those.

    Captions are literal text. Images are decoded by `read_image`, cropped and resized by `crop`. Hidden files are
    passed over; linked folders are followed once. TensorFlow is needed for `tfds:` only, pyarrow for parquet only.

    Args:
        source: str or path, see above.
        image_size: int, or (height, width), of the images in pixels.
        split: optional str, keeps the rows with this `split`; a row without that column belongs to "train". Sources of
            TFDS take slices too, such as "train[:10%]".
        skip_corrupt: bool, whether to leave out images that can't be decoded, with a warning that names them.
        limit: optional int, reads only so many images (before corrupt ones are left out).
        background: colour behind what is transparent, such as "white" or "#ffcc00".

    Returns:
        `CaptionedImages`, in the order of the source (folders: by path).

    Raises:
        ValueError: if the source, a caption, a line or an image is missing or unreadable; the message names it. Also if
            there are more images than memory.
    """
    form = ImageForm(image_size, background)
    rows = open_rows(source, split, limit)
    check_memory(source, rows, form.image_size)
    return read_images(rows, form, skip_corrupt)


def read_images(rows, form, skip_corrupt=False):
    """All images of a `Source`, in an `ImageForm`, as `CaptionedImages`; see `load_images`."""
    images, captions, records = np.empty((len(rows), *form.image_size, 3), "uint8"), [], []
    for _, row, image in decode_rows(rows, form, skip_corrupt):
        images[len(captions)] = image
        captions.append(row.caption)
        records.append(row.record)
    return CaptionedImages(images[: len(captions)], captions, records)


def open_rows(source, split=None, limit=None):
    """The rows of a source, see `load_images`, that are read when they are asked for: a `latentdiff.data.rows.Source`.

    Raises:
        ValueError: there is none; see `load_images`.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | np.integer) or limit < 1):
        raise ValueError(f"`limit` must be a positive integer. Received: {limit=}")
    source = os.fspath(source)
    rows = open_source(source, split)
    if not len(rows):
        raise ValueError(f"`source` must hold at least one captioned image. Received: source={source!r}")
    return rows if limit is None or limit >= len(rows) else Subset(rows, np.arange(limit))


def check_memory(source, rows, size):
    """Raises ValueError if memory can't hold the decoded images of some rows, at `size` (height, width)."""
    most = total_memory() // (3 * size[0] * size[1])
    if len(rows) > most:
        raise ValueError(
            f"`source` must have images that fit into memory: at most {most} of {size[0]} x {size[1]} pixels. Pass "
            f"`limit`, or a smaller `image_size`. Received: source={os.fspath(source)!r}, which has {len(rows)}"
        )


def decode_rows(source, decode, skip_corrupt=False):
    """Yields (number, row, image) of all rows whose images can be decoded.

    Args:
        source: `Source`.
        decode: function from a `Row` to what is yielded as the image, such as an `ImageForm`.
        skip_corrupt: whether to leave the others out, with a warning, and not to raise ValueError at the end.
    """

    def tried(row):
        try:
            return row, decode(row), None
        except ValueError as error:
            return row, None, str(error)

    corrupt = []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(source), AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, len(source)))
            for number, (row, image, error) in zip(numbers, pool.map(tried, source.read(numbers)), strict=True):
                if image is None:
                    corrupt.append(error)
                else:
                    yield number, row, image
    if corrupt and not (skip_corrupt and len(corrupt) < len(source)):
        hint = "" if skip_corrupt else corrupt_hint()
        raise ValueError(f"`source` must hold readable images.{hint} Received: {shorten(corrupt)}")
    if corrupt:
        names = "; ".join(corrupt)
        warnings.warn(f"Left out {len(corrupt)} corrupt of {len(source)} images: {names}", stacklevel=3)


def corrupt_hint():
    """What can be done about images that can't be decoded, for messages."""
    return " Pass `skip_corrupt=True`, or --skip-corrupt, to leave them out."
