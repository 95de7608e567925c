"""Cuts batches out of arrays, or out of images that are still on the disk. Needs no Keras: worker processes run it."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np


@dataclasses.dataclass
class BatchReader:
    """A function from (epoch, index) to a batch, which depends on nothing else. Fields: see `Batches`."""

    arrays: Mapping
    batch_size: int
    shuffle: bool = True
    seed: int = 0
    transform: Callable | None = None
    drop_remainder: bool = True
    passes: int = 1
    permutation: Callable | None = None
    share: tuple = (0, 1)

    def __post_init__(self):
        self.num_rows = len(next(iter(self.arrays.values()))) * self.passes
        self._order = (None, None)

    def __len__(self):
        return -(-self.num_rows // self.batch_size) - (self.drop_remainder and self.num_rows % self.batch_size > 0)

    def rows(self, epoch, index):
        """The numbers of the rows of a batch, a slice where they are in order."""
        rows = slice(index * self.batch_size, min((index + 1) * self.batch_size, self.num_rows))
        order, (host, hosts) = self.order(epoch), self.share
        if order is not None:
            rows = order[rows]
        if hosts > 1:
            rows = np.array_split(np.arange(rows.start, rows.stop) if order is None else rows, hosts)[host]
        return rows

    def __call__(self, epoch, index):
        rows, (host, hosts) = self.rows(epoch, index), self.share
        place = (epoch, index, host) if hosts > 1 else (epoch, index)
        batch = {key: self._read(array, rows, place) for key, array in self.arrays.items()}
        if self.transform is not None:
            batch = self.transform(batch, np.random.default_rng((self.seed, 1, *place)))
        return batch

    def _read(self, array, rows, place):
        if hasattr(array, "read"):  # images, which may be cropped at random
            return array.read(rows, np.random.default_rng((self.seed, 3, *place)))
        return array[rows]

    def at(self, position):
        """The batch at a place in the sequence of all epochs."""
        return self(*divmod(position, len(self)))

    def order(self, epoch):
        """The numbers of the rows in the order of an epoch; None for that of the arrays."""
        known, order = self._order
        if known != epoch:
            order = self._draw_order(epoch)
            self._order = (epoch, order)
        return order

    def _draw_order(self, epoch):
        rng, rows = np.random.default_rng((self.seed, 0, epoch)), self.num_rows // self.passes
        if not self.shuffle:
            return None if self.passes == 1 else np.tile(np.arange(rows), self.passes)
        draw = self.permutation or (lambda rng: rng.permutation(rows))
        return np.concatenate([draw(rng).astype("int32") for _ in range(self.passes)])


def random_flip(batch, rng):
    """A `transform` of `Batches` that mirrors each of `batch["images"]`, (batch, height, width, 3), or leaves it."""
    if "images" not in batch:
        raise ValueError(f"`batch` must have the key 'images'. Received: batch with keys {list(batch)}")
    images = batch["images"].copy()
    flipped = rng.random(len(images)) < 0.5
    images[flipped] = images[flipped, :, ::-1]
    return {**batch, "images": images}
