"""Arrays that processes share through a temporary file: what a set of a million images has one of for each."""

import os
import tempfile
import weakref

import numpy as np

SMALLEST = 2**20  # bytes of an array that is worth a file


def mapped(values, dtype):
    """Numbers as an array that takes no memory of its own, if they are many.

    Args:
        values: what has a buffer of this dtype, such as `array.array` or bytearray, or numbers.
        dtype: that of the array.

    Returns:
        a numpy array, or a `MappedArray`.
    """
    values = np.frombuffer(values, dtype) if isinstance(values, bytearray) else np.asarray(values, dtype)
    return values if values.nbytes < SMALLEST else MappedArray(values)


class MappedArray:
    """An array in a temporary file, which goes with the object. A pickled one is mapped by the other process.

    Returns:
        Item of what indexes a numpy array: a number, or an array.
    """

    def __init__(self, values):
        handle, self.path = tempfile.mkstemp(prefix="latentdiff-", suffix=".npy")
        with os.fdopen(handle, "wb") as file:
            np.save(file, values)
        weakref.finalize(self, _remove, self.path, os.getpid())
        self._map()

    def _map(self):
        self.values = np.load(self.path, mmap_mode="r")
        self.shape = self.values.shape

    def __getstate__(self):
        return self.path

    def __setstate__(self, path):
        self.path = path
        self._map()

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return self.values[index]

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


def _remove(path, owner):
    if os.getpid() == owner and os.path.exists(path):  # not in a fork
        os.unlink(path)
