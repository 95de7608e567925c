"""All sources of captioned images, by what they are: a folder, files of one kind, or a name of TensorFlow Datasets."""

import glob
import os
import pathlib

import numpy as np

from latentdiff.data.array_records import ArrayRecordShards
from latentdiff.data.folders import IMAGE_SUFFIXES, CaptionFiles, read_folder, walk
from latentdiff.data.packed_texts import PackedTexts
from latentdiff.data.parquet import ParquetShards
from latentdiff.data.rows import Joined, Subset, shorten
from latentdiff.data.tar_shards import TarShards
from latentdiff.data.tfds import TfdsSplit, open_builder

# What a file can be by its ending, and the source of shards of this kind.
SHARDS = {"parquet": ParquetShards, "tar": TarShards, "array_record": ArrayRecordShards}
IMAGE, TEXT = "image", "text"


def open_source(source, split=None):
    """The rows of any source, see `load_images`: a `Source`.

    Args:
        source: str.
        split: optional str, keeps the rows of this split.

    Raises:
        ValueError: there is no such source, something in it is unreadable, or no row belongs to the split.
    """
    if source.startswith("tfds:"):
        return _open_tfds(source, split)
    rows = open_files(source)
    if split is None:
        return rows
    splits = rows.splits()
    if len(rows) and not (splits == split).any():
        raise ValueError(f"`split` must be one of {sorted(set(splits.tolist()))}. Received: split={split!r}")
    return rows if (splits == split).all() else Subset(rows, np.flatnonzero(splits == split))


def read_rows(source, split=None):
    """Yields the rows of any source, see `load_images`."""
    return iter(open_source(source, split))


def read_files(source):
    """Yields the rows of a file, a glob or a folder, see `load_images`."""
    return iter(open_files(source))


def open_files(source):
    """The rows of a file, a glob or a folder, see `load_images`: a `Source`."""
    path = pathlib.Path(source)
    if path.is_dir():
        return _open_folder(path)
    if path.is_file() and kind_of(path) == IMAGE:
        text = path.with_suffix(".txt")
        return CaptionFiles(path.parent, PackedTexts([path.name]), PackedTexts([text.name] * text.is_file()))
    if not path.exists() and not glob.has_magic(source):
        raise ValueError(f"`source` must be an existing path. Received: source={source!r}")
    shards = [path] if path.is_file() else sorted(map(pathlib.Path, glob.glob(source, recursive=True)))
    kinds = {kind_of(shard) for shard in shards}
    if len(kinds) != 1 or not kinds <= set(SHARDS):
        found = f"with {shorten([shard.name for shard in shards])}" if shards else "which matches nothing"
        raise ValueError(
            f"`source` must name a folder, shards of one kind ({', '.join(SHARDS)}) or `tfds:NAME`. "
            f"Received: source={source!r}, {found}"
        )
    return SHARDS[kinds.pop()](shards)


def kind_of(path):
    """What a file is by its ending: a key of `SHARDS`, `IMAGE`, `TEXT` or None."""
    ending = os.path.splitext(path)[1]
    suffix = ending.lower()
    if suffix in IMAGE_SUFFIXES:
        return IMAGE
    if suffix.startswith(".array_record"):  # and -00000-of-00010 behind it
        return "array_record"
    return TEXT if ending == ".txt" else suffix[1:] if suffix[1:] in SHARDS else None


def _open_folder(folder):
    files = PackedTexts(walk(folder))
    found = set(map(kind_of, files))
    kinds = [kind for kind in (IMAGE, *SHARDS) if kind in found]
    if len(kinds) != 1:
        raise ValueError(
            f"`source` must hold either images or shards of one kind ({', '.join(SHARDS)}). "
            f"Received: source={str(folder)!r}, which has {' and '.join(kinds) or 'none'}"
        )
    if kinds == [IMAGE]:
        return read_folder(folder, *(PackedTexts(_of_kind(kind, files)) for kind in (IMAGE, TEXT)))
    return SHARDS[kinds[0]]([folder / shard for shard in _of_kind(kinds[0], files)])


def _of_kind(kind, files):
    return (name for name in files if kind_of(name) == kind)


def _open_tfds(source, split):
    if split is not None:
        return TfdsSplit(source, split)
    return Joined([TfdsSplit(source, part) for part in sorted(open_builder(source)[1].info.splits)])
