"""Batches for `fit`: whole batches of arrays, in an order that a resumed run repeats.

images = load_images("emoji/*.parquet", image_size=128, split="train")
batches = Batches({"images": images.images}, batch_size=32, transform=random_flip)
model.fit(batches, epochs=10, shuffle=False, callbacks=[batches.epoch_callback()])
"""

import warnings

import keras
import numpy as np


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
