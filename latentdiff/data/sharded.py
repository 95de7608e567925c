"""Arrays and records in several files, read as one: only what is indexed is read."""

import json

import numpy as np


class ShardedArray:
    """Memory-mapped `.npy` files, one behind the other along the first axis.

    Args:
        paths: list of them; all but the first lengths are equal.

    Returns:
        Item of row numbers, a mask, a slice or an int, or of a pair of row numbers and numbers along the second axis:
        an array in memory.

    Attributes:
        deviations: of latents, their standard deviations, a `ShardedArray` of the same shape, or None.
    """

    deviations = None

    def __init__(self, paths):
        self.arrays = [np.load(path, mmap_mode="r") for path in paths]
        self.starts = np.cumsum([0, *map(len, self.arrays)])
        self.shape = (int(self.starts[-1]), *self.arrays[0].shape[1:])
        self.dtype = self.arrays[0].dtype

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, key):
        rows, second = key if isinstance(key, tuple) else (key, None)
        rows = np.arange(len(self))[rows]
        if rows.ndim == 0:
            return self[rows[None] if second is None else (rows[None], second)][0]
        second = None if second is None else np.broadcast_to(second, rows.shape)
        return self._gather(rows, second)

    def _gather(self, rows, second):
        values = np.empty((len(rows), *self.shape[1 if second is None else 2 :]), self.dtype)
        shards = np.searchsorted(self.starts, rows, side="right") - 1
        for shard in np.unique(shards):
            here = shards == shard
            places = rows[here] - self.starts[shard]
            values[here] = self.arrays[shard][places if second is None else (places, second[here])]
        return values

    def __array__(self, dtype=None, copy=None):
        return np.concatenate(self.arrays).astype(dtype or self.dtype)


class ShardedRecords:
    """The lines of `records.jsonl` in several folders, beside which `ends.npy` says where they end, as a sequence."""

    def __init__(self, folders):
        self.paths = [folder / "records.jsonl" for folder in folders]
        self.ends = [np.load(folder / "ends.npy", mmap_mode="r") for folder in folders]
        self.starts = np.cumsum([0, *map(len, self.ends)])
        for path, ends in zip(self.paths, self.ends, strict=True):
            if len(ends) and path.stat().st_size < ends[-1]:
                raise ValueError(f"{path} is cut off")

    def __len__(self):
        return int(self.starts[-1])

    def __iter__(self):
        for path in self.paths:
            with open(path, "rb") as file:
                yield from map(json.loads, file)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"`index` must be below {len(self)}. Received: {index=}")
        index %= len(self)
        shard = int(np.searchsorted(self.starts, index, side="right")) - 1
        row = index - self.starts[shard]
        with open(self.paths[shard], "rb") as file:
            file.seek(self.ends[shard][row - 1] if row else 0)
            return json.loads(file.readline())

    def __eq__(self, other):
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))
