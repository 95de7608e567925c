"""Weights of a preset as a .safetensors file: the arrays of Keras' HDF5 file under their paths in it."""

import ml_dtypes

BFLOAT16 = "bfloat16"  # HDF5 has no such type: Keras keeps plain bytes, and this in an attribute `dtype`


def from_hdf5(source, target):
    """Writes the arrays of an HDF5 file, which `hdf5.check_plain` has passed, as a .safetensors file."""
    import h5py
    from safetensors.numpy import save_file

    arrays = {}

    def take(name, entry):
        if isinstance(entry, h5py.Dataset):
            array = entry[()]
            arrays[name] = array.view(ml_dtypes.bfloat16) if entry.attrs.get("dtype") == BFLOAT16 else array

    with h5py.File(source) as file:
        file.visititems(take)
    save_file(arrays, target)


def to_hdf5(source, target):
    """Writes the tensors of a .safetensors file as an HDF5 file that Keras loads.

    Raises:
        ValueError: no such file, or names that can't be those of one HDF5 file.
    """
    import h5py
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(source, framework="numpy") as tensors, h5py.File(target, "w") as file:
            for name in tensors.keys():  # noqa: SIM118  it is no dict
                array = tensors.get_tensor(name)
                entry = file.create_dataset(name, data=array)
                if array.dtype == ml_dtypes.bfloat16:
                    entry.attrs["dtype"] = BFLOAT16
    except (SafetensorError, OSError, TypeError, AttributeError) as error:  # the last: a dtype that NumPy lacks
        raise ValueError(f"no file of weights: {error}") from error
