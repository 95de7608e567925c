"""The weight files of a preset: Keras' own `model.weights.h5`, if wanted in half precision and in pieces.

A piece is a range of bytes of that file, so that any piece size works with any layer, and `cat` puts them together
again. The list of pieces holds their sizes and checksums; a piece that is missing, cut short or changed is named.
For a hub the arrays go into one `model.safetensors` instead, which is in the list as its only piece.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
from pathlib import Path

from latentdiff.presets import safetensors_file
from latentdiff.presets.folder import shorten
from latentdiff.presets.hdf5 import check_plain
from latentdiff.presets.replacement import replacing

WEIGHTS_FILE = "model.weights.h5"
PIECES_FILE = "model.weights.json"
SAFETENSORS_FILE = "model.safetensors"
BLOCK_BYTES = 2**24  # read at a time
ENTRY_BYTES = 4096  # of an HDF5 file for each array, beside its numbers
TRAINING_ONLY = {"optimizer", "adversary"}


def save(model, folder, float16=False, max_shard_bytes=None):
    """Writes the weights of `model` into `folder`, replacing what is there; arguments as in `presets.save_preset`."""
    check_shard_bytes(max_shard_bytes)
    with replacing(Path(folder)) as draft:
        write(model, draft, float16, max_shard_bytes)


def check_shard_bytes(max_shard_bytes):
    """Raises ValueError unless files can be of this size."""
    if max_shard_bytes is not None and max_shard_bytes < 1:
        raise ValueError(f"`max_shard_bytes` must be at least 1, or None. Received: {max_shard_bytes=}")


def check_room(model, folder):
    """Raises OSError unless a disk has room for the weights of a model, and for a copy of them.

    HDF5 ends the whole process, without cleaning up, on a disk that fills while it writes.
    """
    variables = [*model.variables, *(model.optimizer.variables if getattr(model, "optimizer", None) else [])]
    needed = sum(8 * math.prod(variable.shape) + ENTRY_BYTES for variable in variables)
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def write(model, folder, float16, max_shard_bytes):
    """Writes the weights of `model` into a folder without any; arguments as in `save`."""
    check_room(model, folder)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        everything = Path(temporary) / "everything.weights.h5"
        model.save_weights(everything)
        path = Path(temporary) / WEIGHTS_FILE
        _copy(everything, path, float16)
        if max_shard_bytes is None:
            shutil.move(path, folder / WEIGHTS_FILE)
        else:
            _cut(path, folder, max_shard_bytes)


def load(model, folder):
    """Loads the weights in `folder`, as `replacement.where` gives it, into `model`.

    Raises:
        ValueError: a file is missing, truncated or changed; names it.
    """
    with _checked_file(Path(folder)) as path:
        try:
            model.load_weights(path)
        except Exception as error:  # Keras raises many kinds, with the list of all layers
            raise ValueError(f"The preset is damaged: {path} has other weights ({shorten(error)}).") from error


def write_safetensors(source, target):
    """Writes the weights in the folder `source`, which `load` would take, into another one as `model.safetensors`."""
    with _checked_file(Path(source)) as path:
        safetensors_file.from_hdf5(path, target / SAFETENSORS_FILE)
    _write_list(target, SAFETENSORS_FILE, [_entry(target / SAFETENSORS_FILE)])


def _copy(source_path, target_path, float16):
    """Copies a weight file, without what only training needs, and with float32 arrays as float16 if wanted."""
    import h5py

    with h5py.File(source_path) as source, h5py.File(target_path, "w") as target:

        def copy(name, entry):
            if not TRAINING_ONLY.isdisjoint(name.split("/")):
                return
            if isinstance(entry, h5py.Group):
                copied = target.require_group(name)
            else:
                dtype = "float16" if float16 and entry.dtype == "float32" else entry.dtype
                copied = target.create_dataset(name, data=entry[()].astype(dtype))
            copied.attrs.update(entry.attrs)

        target.attrs.update(source.attrs)
        source.visititems(copy)


def _cut(path, folder, max_shard_bytes):
    pieces = []
    with open(path, "rb") as file:
        while data := file.read(max_shard_bytes):
            piece = folder / _piece_name(len(pieces))
            piece.write_bytes(data)
            pieces.append(_entry(piece))
    _write_list(folder, WEIGHTS_FILE, pieces)


def _entry(path):
    """What the list says of a piece."""
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": _sha256(path)}


def _write_list(folder, name, pieces):
    (folder / PIECES_FILE).write_text(json.dumps({"file": name, "pieces": pieces}, indent=2) + "\n")


@contextlib.contextmanager
def _checked_file(folder):
    """The path of a whole HDF5 file with nothing but arrays of numbers."""
    with _whole_file(folder) as path:
        try:
            check_plain(path)
        except OSError as error:
            raise ValueError(f"The preset is damaged: {path} can't be read ({shorten(error)}).") from error
        yield path


@contextlib.contextmanager
def _whole_file(folder):
    """The path of the whole HDF5 file; made in a temporary folder where the weights are in pieces or safetensors."""
    if (folder / WEIGHTS_FILE).is_file():
        yield folder / WEIGHTS_FILE
        return
    pieces = _read_list(folder)
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary) / WEIGHTS_FILE
        if pieces[0][0].name == SAFETENSORS_FILE:
            _check(*pieces[0])
            _from_safetensors(pieces[0][0], whole)
        else:
            _join(pieces, whole)
        yield whole


def _read_list(folder):
    """(path, bytes, SHA-256) of each piece."""
    if not (folder / PIECES_FILE).is_file():
        raise ValueError(f"The preset is incomplete: {folder} has neither {WEIGHTS_FILE} nor {PIECES_FILE}.")
    try:
        pieces = json.loads((folder / PIECES_FILE).read_text(encoding="utf-8"))["pieces"]
        names = [piece["file"] for piece in pieces]
        if not names or names not in ([_piece_name(index) for index in range(len(names))], [SAFETENSORS_FILE]):
            raise ValueError("other names than those of its pieces")
        return [(folder / piece["file"], int(piece["bytes"]), str(piece["sha256"])) for piece in pieces]
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        path = folder / PIECES_FILE
        raise ValueError(f"The preset is damaged: {path} is no list of pieces ({shorten(error)}).") from error


def _piece_name(index):
    return f"{WEIGHTS_FILE}.{index:03}"


def _join(pieces, whole):
    with open(whole, "wb") as joined:
        for piece in pieces:
            _check(*piece, joined)


def _from_safetensors(path, whole):
    try:
        safetensors_file.to_hdf5(path, whole)
    except ValueError as error:
        raise ValueError(f"The preset is damaged: {path} can't be read ({shorten(error)}).") from error


def _check(path, size, checksum, copy=None):
    """Raises ValueError unless a piece is what the list says; its bytes go into the open file `copy` on the way."""
    if not path.is_file():
        raise ValueError(f"The preset is incomplete: {path} is missing.")
    if path.stat().st_size != size:
        raise ValueError(f"The preset is damaged: {path} has {path.stat().st_size} bytes where {size} belong.")
    if _sha256(path, copy) != checksum:
        raise ValueError(f"The preset is damaged: {path} was changed, its checksum is not the recorded one.")


def _sha256(path, copy=None):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(BLOCK_BYTES):
            digest.update(data)
            if copy is not None:
                copy.write(data)
    return digest.hexdigest()
