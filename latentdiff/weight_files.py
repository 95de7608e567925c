"""Frozen networks from `.npz` files of named arrays."""

import zipfile
from pathlib import Path

import numpy as np


def read_arrays(path, names):
    """The arrays `names` of an `.npz` file as float32, in a dict.

    Raises:
        ValueError: the file is missing, is no `.npz`, or lacks one of the names.
    """
    if not Path(path).is_file():
        raise ValueError(f"`path` must be an .npz file of weights. Received: path={str(path)!r}, which does not exist")
    try:
        with np.load(path) as file:
            missing = [name for name in names if name not in file.files]
            if missing:
                raise ValueError(f"`path` must hold the arrays {missing[:5]}. Received: path={str(path)!r} without them")
            return {name: file[name].astype("float32") for name in names}
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(f"`path` must be an .npz file. Received: path={str(path)!r} ({error})") from error


def fill_model(model, arrays, path):
    """Sets the kernel and bias of each layer of `model` named in `arrays` ("layer/kernel", "layer/bias", ...)."""
    for name in dict.fromkeys(key.rsplit("/", 1)[0] for key in arrays):
        layer = model.get_layer(name)
        values = [value for key, value in arrays.items() if key.rsplit("/", 1)[0] == name]
        try:
            layer.set_weights(values)
        except ValueError as error:
            raise ValueError(f"`path` holds arrays of the wrong shape for {name}. Received: path={str(path)!r}") from error
