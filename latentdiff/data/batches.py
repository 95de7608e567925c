"""Batches for `fit`: whole batches of arrays, in an order that a resumed run repeats.

images = load_images("emoji/*.parquet", image_size=128, split="train")
batches = Batches({"images": images.images}, batch_size=32, transform=random_flip)
model.fit(batches, epochs=10, shuffle=False, callbacks=[batches.epoch_callback()])
"""

import warnings

import keras
import numpy as np

from latentdiff.data.batch_reader import BatchReader, random_flip
from latentdiff.data.image_rows import ImageRows
from latentdiff.data.read_ahead import ReadAhead

__all__ = ["Batches", "EpochDataset", "random_flip"]


class EpochDataset(keras.utils.PyDataset):
    """Batches of numbered epochs, each of `num_steps` batches, of which the first may be left out.

    A subclass overrides `num_steps`, `num_images`, the rows that an epoch trains on, `make(index)`, which gives a batch
    of the epoch `self.epoch`, and, where needed, `names(index)` and `set_epoch`.

    Attributes:
        error: the message of a batch that could not be made, which `fit` may bury in one of the backend.
    """

    epoch = start = 0
    error = None
    _next_start = 0

    def __len__(self):
        return self.num_steps - self.start

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(f"`index` must be from 0 to {len(self) - 1}. Received: index={index}")
        try:
            return self.make(self.start + index)
        except ValueError as error:
            self.error = str(error).partition("\n")[0]  # behind it grain tells of its frames
            raise

    def names(self, index):
        """What messages call the rows of a batch of the epoch, a list of str."""
        return []

    def set_epoch(self, epoch, start=0):
        """Goes to an epoch, counted from 0, and to one of its batches."""
        self.epoch, self.start = epoch, start

    def resume_at(self, step):
        """Has the next epoch of `fit` begin at a batch, as an interrupted one that had trained on `step` batches."""
        self._next_start = step

    def epoch_callback(self):
        """Returns a `keras.callbacks.Callback` that sets the epoch before `fit` asks for its first batch."""

        def on_epoch_begin(epoch, logs=None):
            self.set_epoch(epoch, self._next_start)
            self._next_start = 0
            self._expects_first = True

        return keras.callbacks.LambdaCallback(on_epoch_begin=on_epoch_begin, on_train_end=lambda logs: self.close())

    def close(self):
        """Ends what reads ahead."""


class Batches(EpochDataset):
    """Whole batches of equally long arrays, in an order that depends on (seed, epoch) alone.

    Keras restores the epoch of an interrupted `fit`, but no shuffle order. With `epoch_callback()` among the callbacks,
    and without `fit`'s own shuffling (`shuffle=False`) and `steps_per_epoch`, a resumed run sees the batches that an
    uninterrupted one would have seen. Without the callback each epoch repeats epoch 0, as validation data should.

    Args:
        arrays: dict of numeric arrays with the same first dimension, memory-mapped ones included, or `ImageRows`, which
            are still on the disk. `fit` takes no strings: turn captions into token ids before.
        batch_size: int, rows of a batch.
        shuffle: bool, whether to draw a new order each epoch.
        seed: int, not negative.
        transform: optional function `(batch, rng) -> batch` of a dict of arrays and a `numpy.random.Generator` that
            depends on (seed, epoch, index of the batch).
        drop_remainder: bool, whether to leave out the last rows that don't fill a batch; they differ each epoch.
        passes: int, times that an epoch goes through the rows. Small sets want long epochs: what is done between
            two, like saving, then costs little.
        permutation: optional function from a generator to the row numbers in random order; default: any order.
        share: (host, hosts): each of several hosts gets its part of every batch.
        processes: None, or the number of worker processes that read ahead; 0 reads ahead by threads. Arrays and
            transform are then pickled. Batches do not depend on it.
        name: optional function from the number of a row to what messages call it.
        **kwargs: `workers`, `use_multiprocessing`, `max_queue_size` of `keras.utils.PyDataset`.

    Returns:
        Item `index`: a dict of arrays (batch_size, ...) with the keys and dtypes of `arrays`.
    """

    def __init__(
        self,
        arrays,
        batch_size,
        shuffle=True,
        seed=0,
        transform=None,
        drop_remainder=True,
        passes=1,
        permutation=None,
        share=(0, 1),
        processes=None,
        name=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        arrays = {key: array if isinstance(array, ImageRows) else np.asarray(array) for key, array in arrays.items()}
        _check(arrays, batch_size, drop_remainder)
        self.reader = BatchReader(
            arrays, batch_size, shuffle, seed, transform, drop_remainder, passes, permutation, share
        )
        self._ahead = None if processes is None else ReadAhead(self.reader, processes)
        self._name = name or "row {}".format
        self._expects_first = False

    @property
    def shuffle(self):
        return self.reader.shuffle

    @property
    def num_steps(self):
        return len(self.reader)

    @property
    def num_images(self):
        return min(len(self.reader) * self.reader.batch_size, self.reader.num_rows)

    def make(self, index):
        if self._expects_first and index != self.start and self.workers <= 1:
            message = "Batches come in an order that can't be repeated: pass `shuffle=False` and no `steps_per_epoch`"
            warnings.warn(message, stacklevel=2)
        self._expects_first = False
        if self._ahead is not None:
            return self._ahead[self.epoch * self.num_steps + index]
        return self.reader(self.epoch, index)

    def set_epoch(self, epoch, start=0):
        super().set_epoch(epoch, start)
        self._expects_first = False

    def names(self, index):
        rows = self.reader.rows(self.epoch, index)
        return [self._name(int(row)) for row in (range(rows.start, rows.stop) if isinstance(rows, slice) else rows)]

    def close(self):
        if self._ahead is not None:
            self._ahead.close()


def _check(arrays, batch_size, drop_remainder):
    lengths = {key: len(array) for key, array in arrays.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f"`arrays` must be equally long and not empty. Received: arrays of lengths {lengths}")
    rows = next(iter(lengths.values()))
    if not isinstance(batch_size, int) or not 1 <= batch_size <= max(rows, 0 if drop_remainder else batch_size):
        raise ValueError(f"`batch_size` must be an integer from 1 to {rows}. Received: batch_size={batch_size!r}")
    texts = [key for key, array in arrays.items() if array.dtype.kind in "OSU"]
    if texts:
        raise ValueError(f"`arrays` must hold numbers, not text. Received: arrays with text under {texts}")
