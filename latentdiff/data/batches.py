"""Captioned pictures for training: from parquet shards, folders and TensorFlow Datasets to batches for `fit`.

    pictures = load_pictures("emoji/*.parquet", image_size=128, split="train")
    batches = Batches({"images": pictures.images}, batch_size=32, transform=random_flip)
    model.fit(batches, epochs=10, shuffle=False, callbacks=[batches.epoch_callback()])

TensorFlow is needed for `tfds:` sources only, pyarrow for parquet only.
"""

import dataclasses
import io
import itertools
import os
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
from PIL import Image

from latentdiff.data import sources

# What the decoders of Pillow raise on broken data.
DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


@dataclasses.dataclass
class Pictures:
    """Captioned pictures in memory.

    Attributes:
        images: uint8 array, (n, size, size, 3).
        captions: n strings.
        records: n dicts with all other columns of the source, such as `label`, `style` or `split`.
    """

    images: np.ndarray
    captions: list[str]
    records: list[dict]

    def __len__(self):
        return len(self.captions)

    def select(self, rows):
        """The pictures of a boolean mask of length n, or of integer indices, as new `Pictures`."""
        rows = np.asarray(rows)
        if rows.dtype == bool and rows.shape != (len(self),):
            raise ValueError(f"A mask in `rows` must have shape ({len(self)},). Received: rows of shape {rows.shape}")
        rows = np.arange(len(self))[rows if rows.size else []]
        return Pictures(self.images[rows], [self.captions[row] for row in rows], [self.records[row] for row in rows])


def load_pictures(source, image_size, split=None, skip_corrupt=False, limit=None):
    """Reads captioned pictures of any of these kinds:

    - parquet: a file, a glob or a folder of shards with the columns `image` (bytes, or a struct with `bytes`) and
      `caption` (or `text`);
    - a folder of images with a `metadata.jsonl`: one object a line with `file_name` and `caption` (or `text`);
    - a folder of images, subfolders included, with a caption in a `.txt` file of the same name beside each;
    - `tfds:NAME`, such as `tfds:cifar10?data_dir=tfds&caption=label`: the caption is a text feature, or the name of the
      label ("_" becomes " "). The options are `data_dir`, `image` and `caption` (names of features). Records keep
      texts, labels, scalars and lists of those.

    Pictures are turned upright as their EXIF data say, put on white where transparent, cropped to the central square
    and resampled: block means if the side is a multiple of `image_size`, else Lanczos. Hidden files are passed over.

    Args:
        source: str or path, see above.
        image_size: int, side of the pictures in pixels.
        split: optional str, keeps the rows with this `split`; a row without that column belongs to "train". Sources of
            TFDS take slices too, such as "train[:10%]".
        skip_corrupt: bool, whether to leave out pictures that can't be decoded, with a warning that names them.
        limit: optional int, reads only so many pictures (before corrupt ones are left out).

    Returns:
        `Pictures`, in the order of the source (folders: by path).

    Raises:
        ValueError: if the source, a caption, a line or a picture is missing or unreadable; the message names it.
    """
    for name, value in {"image_size": image_size, "limit": 1 if limit is None else limit}.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}")
    source = os.fspath(source)
    tfds = source.startswith("tfds:")
    rows = sources.read_tfds(source, split) if tfds else _keep_split(sources.read_files(source), split)
    rows = list(itertools.islice(rows, limit))
    if not rows:
        raise ValueError(f"`source` must hold at least one captioned picture. Received: source={source!r}")
    return _decode_rows(rows, int(image_size), skip_corrupt)


def _decode_rows(rows, image_size, skip_corrupt):
    def decode(row):
        try:
            with Image.open(io.BytesIO(row.image) if isinstance(row.image, bytes) else row.image) as image:
                return sources.prepare_picture(image, image_size), None
        except DECODE_ERRORS as error:
            return None, f"{row.name} ({error})"

    images = np.empty((len(rows), image_size, image_size, 3), "uint8")
    kept, corrupt = [], []
    with ThreadPoolExecutor() as pool:
        for row, (image, error) in zip(rows, pool.map(decode, rows), strict=True):
            if image is None:
                corrupt.append(error)
            else:
                images[len(kept)] = image
                kept.append(row)
    if corrupt and not (skip_corrupt and kept):
        hint = "" if skip_corrupt else " Pass `skip_corrupt=True` to leave them out."
        raise ValueError(f"`source` must hold readable pictures.{hint} Received: {sources.shorten(corrupt)}")
    if corrupt:
        names = "; ".join(corrupt)
        warnings.warn(f"Left out {len(corrupt)} corrupt of {len(rows)} pictures: {names}", stacklevel=3)
    return Pictures(images[: len(kept)], [row.caption for row in kept], [row.record for row in kept])


def _keep_split(rows, split):
    seen = set()
    for row in rows:
        seen.add(row.record.get("split", "train"))
        if split is None or row.record.get("split", "train") == split:
            yield row
    if split is not None and seen and split not in seen:
        raise ValueError(f"`split` must be one of {sorted(map(str, seen))}. Received: split={split!r}")


class Batches(keras.utils.PyDataset):
    """Whole batches of equally long arrays, in an order that depends on (seed, epoch) alone.

    Keras restores the epoch of an interrupted `fit`, but no shuffle order. With `epoch_callback()` among the callbacks,
    and without `fit`'s own shuffling (`shuffle=False`) and `steps_per_epoch`, a resumed run sees the batches that an
    uninterrupted one would have seen. Without the callback each epoch repeats epoch 0, as validation data should.

    Args:
        arrays: dict of numeric arrays with the same first dimension, memory-mapped ones included. `fit` takes no
            strings: turn captions into token ids before.
        batch_size: int, rows of a batch.
        shuffle: bool, whether to draw a new order each epoch.
        seed: int, not negative.
        transform: optional function `(batch, rng) -> batch` of a dict of arrays and a `numpy.random.Generator` that
            depends on (seed, epoch, index of the batch).
        drop_remainder: bool, whether to leave out the last rows that don't fill a batch; they differ each epoch.
        passes: int, times that an epoch goes through the rows. Small sets want long epochs: what is done between
            two, like saving, then costs little.
        **kwargs: `workers`, `use_multiprocessing`, `max_queue_size` of `keras.utils.PyDataset`.

    Returns:
        Item `index`: a dict of arrays (batch_size, ...) with the keys and dtypes of `arrays`.
    """

    def __init__(
        self, arrays, batch_size, shuffle=True, seed=0, transform=None, drop_remainder=True, passes=1, **kwargs
    ):
        super().__init__(**kwargs)
        lengths = {key: len(array) for key, array in arrays.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise ValueError(f"`arrays` must be equally long and not empty. Received: arrays of lengths {lengths}")
        rows = next(iter(lengths.values()))
        if not isinstance(batch_size, int) or not 1 <= batch_size <= max(rows, 0 if drop_remainder else batch_size):
            raise ValueError(f"`batch_size` must be an integer from 1 to {rows}. Received: batch_size={batch_size!r}")
        self.arrays = {key: np.asarray(array) for key, array in arrays.items()}
        texts = [key for key, array in self.arrays.items() if array.dtype.kind in "OSU"]
        if texts:
            raise ValueError(f"`arrays` must hold numbers, not text. Received: arrays with text under {texts}")
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.transform = transform
        self.drop_remainder = drop_remainder
        self.passes = passes
        self.num_rows = rows * passes
        self.set_epoch(0)

    def __len__(self):
        return -(-self.num_rows // self.batch_size) - (self.drop_remainder and self.num_rows % self.batch_size > 0)

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(f"`index` must be from 0 to {len(self) - 1}. Received: index={index}")
        if self._expects_first and index and self.workers <= 1:
            message = "Batches come in an order that can't be repeated: pass `shuffle=False` and no `steps_per_epoch`"
            warnings.warn(message, stacklevel=2)
        self._expects_first = False
        epoch, order = self._order
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        if order is not None:
            rows = order[rows]
        batch = {key: array[rows] for key, array in self.arrays.items()}
        if self.transform is not None:
            batch = self.transform(batch, np.random.default_rng((self.seed, 1, epoch, index)))
        return batch

    def set_epoch(self, epoch):
        """Draws the order of an epoch, counted from 0."""
        rng, rows = np.random.default_rng((self.seed, 0, epoch)), self.num_rows // self.passes
        passes = [rng.permutation(rows) if self.shuffle else np.arange(rows) for _ in range(self.passes)]
        order = np.concatenate(passes) if self.shuffle or self.passes > 1 else None
        self._order = (epoch, order)
        self._expects_first = False

    def epoch_callback(self):
        """Returns a `keras.callbacks.Callback` that sets the epoch before `fit` asks for its first batch."""

        def on_epoch_begin(epoch, logs=None):
            self.set_epoch(epoch)
            self._expects_first = True

        return keras.callbacks.LambdaCallback(on_epoch_begin=on_epoch_begin)


def random_flip(batch, rng):
    """A `transform` of `Batches` that mirrors each of `batch["images"]`, (batch, height, width, 3), or leaves it."""
    if "images" not in batch:
        raise ValueError(f"`batch` must have the key 'images'. Received: batch with keys {list(batch)}")
    images = batch["images"].copy()
    flipped = rng.random(len(images)) < 0.5
    images[flipped] = images[flipped, :, ::-1]
    return {**batch, "images": images}
