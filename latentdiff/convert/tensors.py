"""Tensors in `.safetensors` files, each read when it is asked for."""

import collections
import contextlib
import json
import struct
from pathlib import Path

import numpy as np

DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Tensors:
    """The tensors of some files by name.

    A file is mapped into memory for one tensor at a time, so that the pages of the others do not stay.

    Args:
        paths: paths of `.safetensors` files, which hold different tensors.
        rename: function from the name of a tensor in a file to the name that it has here; to a tuple of names for one
            whose rows are those of several tensors, in equal parts; or to None for one that is left out.
        transposed: names, here, of matrices that the files hold transposed.

    Raises:
        ValueError: a file that is damaged, or two tensors of one name; names the file.
    """

    def __init__(self, paths, rename=lambda name: name, transposed=()):
        self._places, self._shapes, self._transposed = {}, {}, transposed
        for path in map(Path, paths):
            with open_file(path) as file:
                _refuse_duplicates(path)
                for stored in file.keys():  # noqa: SIM118  no mapping
                    self._add(path, file, stored, rename(stored))

    def _add(self, path, file, stored, names):
        names = names if isinstance(names, tuple) else (names,)
        shape = tuple(file.get_slice(stored).get_shape())
        for index, name in enumerate(names):
            if name in self._places:
                raise ValueError(f"{path} must hold each tensor once. Received: {stored} a second time, as {name}")
            if name is not None:
                self._places[name] = (path, stored, index, len(names))
                self._shapes[name] = shape if len(names) == 1 else (shape[0] // len(names), *shape[1:])

    def __iter__(self):
        return iter(self._places)

    def shape(self, name):
        """The shape of a tensor, from the header of its file."""
        return self._shapes[name][::-1] if name in self._transposed else self._shapes[name]

    def __getitem__(self, name):
        """A tensor as a float32 array.

        Raises:
            ValueError: a tensor of another dtype than float64, float32, float16 and bfloat16.
        """
        path, stored, index, parts = self._places[name]
        with open_file(path) as file:
            dtype = file.get_slice(stored).get_dtype()
            if dtype not in DTYPES:
                raise ValueError(f"{stored} in {path} must have a dtype of {sorted(DTYPES)}. Received: {dtype}")
            values = file.get_tensor(stored)
        if parts > 1:
            values = np.split(values, parts)[index]
        values = values.astype("float32", copy=False)
        return values.T if name in self._transposed else values


@contextlib.contextmanager
def open_file(path):
    """A `.safetensors` file, mapped into memory and closed at the end."""
    import ml_dtypes  # noqa: F401  lets numpy, and so the library, know bfloat16
    import safetensors

    try:
        file = safetensors.safe_open(path, framework="numpy")
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path} can't be read as a .safetensors file: {error}") from error
    with file:
        yield file


def _refuse_duplicates(path):
    """Raises ValueError for a file that names a tensor twice. The library, which has checked the rest, takes one."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        json.loads(file.read(size), object_pairs_hook=lambda pairs: _refuse_twice(path, [name for name, _ in pairs]))


def _refuse_twice(path, names):
    (name, count), *_ = collections.Counter(names).most_common(1) or [("", 0)]
    if count > 1:
        raise ValueError(f"{path} must hold each tensor once. Received: {name} {count} times")
