"""Weight files from strangers. HDF5 can name other files, and can claim arrays of any size; ours do neither."""

import h5py

NUMBERS = "biufV"  # kinds of dtypes; bfloat16 is kept as plain bytes


def check_plain(path):
    """Raises ValueError unless an HDF5 file holds nothing but arrays of numbers, whole and in itself.

    Raises:
        OSError: it is no HDF5 file.
    """
    with h5py.File(path) as file:
        groups = [file]
        seen = set()
        while groups:
            group = groups.pop()
            address = h5py.h5o.get_info(group.id).addr
            if address in seen:
                raise ValueError(_refused(path, group.name, "a group within itself"))
            seen.add(address)
            for name in group:
                link = group.get(name, getlink=True)
                if not isinstance(link, h5py.HardLink):
                    raise ValueError(_refused(path, name, "a link"))
                entry = group[name]
                if isinstance(entry, h5py.Group):
                    groups.append(entry)
                elif (reason := _wrong(entry)) is not None:
                    raise ValueError(_refused(path, name, reason))


def _wrong(entry):
    """Why an entry is no plain array, or None."""
    if not isinstance(entry, h5py.Dataset) or entry.dtype.kind not in NUMBERS:
        return "no array of numbers"
    if entry.external or entry.is_virtual:
        return "an array in another file"
    return "an array that is not stored whole" if entry.id.get_storage_size() < entry.nbytes else None


def _refused(path, name, reason):
    return f"The preset is refused: {path.name} holds {reason}, {name[-40:]!r}."
