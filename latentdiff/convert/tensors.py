"""Tensors in `.safetensors` files, each read when it is asked for."""

import contextlib
from pathlib import Path

DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Tensors:
    """The tensors of some files by name, as a context manager that closes the files.

    Args:
        paths: paths of `.safetensors` files, which hold different tensors.
        rename: function from the name of a tensor in a file to the name that it has here, or to None for one that is
            left out.

    Raises:
        ValueError: a file that is damaged, or two tensors of one name; names the file.
    """

    def __init__(self, paths, rename=lambda name: name):
        self._files = contextlib.ExitStack()
        self._places = {}
        try:
            for path in map(Path, paths):
                self._add(path, rename)
        except BaseException:
            self._files.close()
            raise

    def _add(self, path, rename):
        file = self._files.enter_context(open_file(path))
        for stored in file.keys():  # noqa: SIM118  no mapping
            name = rename(stored)
            if name in self._places:
                raise ValueError(f"{path} must hold each tensor once. Received: {stored} a second time, as {name}")
            if name is not None:
                self._places[name] = (path, file, stored)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._files.close()

    def __iter__(self):
        return iter(self._places)

    def shape(self, name):
        """The shape of a tensor, from the header of its file."""
        _, file, stored = self._places[name]
        return tuple(file.get_slice(stored).get_shape())

    def __getitem__(self, name):
        """A tensor as a float32 array.

        Raises:
            ValueError: a tensor of another dtype than float64, float32, float16 and bfloat16.
        """
        path, file, stored = self._places[name]
        dtype = file.get_slice(stored).get_dtype()
        if dtype not in DTYPES:
            raise ValueError(f"{stored} in {path} must have a dtype of {sorted(DTYPES)}. Received: {dtype}")
        return file.get_tensor(stored).astype("float32", copy=False)


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
