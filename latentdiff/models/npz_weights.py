"""Weights of fixed networks kept as `.npz` files: named arrays in, a built Keras model filled."""

import zipfile

import numpy as np


def read_arrays(path, names):
    """Reads arrays of an `.npz` file as float32.

    Args:
        path: path of the file.
        names: names that the file must hold; it may hold more.

    Returns:
        dict of name -> float32 array, in the order of `names`.

    Raises:
        ValueError: the file is missing, is not an `.npz` file, or lacks one of `names`.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in names if name not in file.files]
            arrays = {name: file[name].astype("float32") for name in names if name not in missing}
    except (OSError, EOFError, ValueError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        message = f"`path` must be a readable `.npz` weight file ({error}). Received: path={str(path)!r}"
        raise ValueError(message) from error
    if missing:
        raise ValueError(
            f"`path` must hold the arrays of this network, but {len(missing)} are missing, the first of them "
            f"{missing[0]!r}. Received: path={str(path)!r}"
        )
    return arrays


def fill_model(model, arrays, path):
    """Sets every variable of `model` from `arrays`.

    Layer names can't hold "/", so a layer `block0_expand` takes the arrays `block0/expand/...`.

    Args:
        model: a built `keras.Model`, not nested.
        arrays: dict of name -> array.
        path: where the arrays come from, for error messages.

    Raises:
        ValueError: an array is missing or has another shape than its variable.
    """
    for layer in model.layers:
        for variable in layer.variables:
            name = f"{layer.name.replace('_', '/')}/{variable.name}"
            received = arrays[name].shape if name in arrays else None
            if received != tuple(variable.shape):
                raise ValueError(
                    f"`path` must hold an array {name!r} of shape {tuple(variable.shape)}. "
                    f"Received: path={str(path)!r}, where its shape is {received}"
                )
            variable.assign(arrays[name])
