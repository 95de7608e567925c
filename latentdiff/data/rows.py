"""Rows of data: an image that is not decoded yet, its caption, and all else that is known of it; sources of rows."""

import hashlib
import itertools
import os
import pathlib
from typing import NamedTuple

import numpy as np

from latentdiff.settings.texts import checked_text

TRAIN = "train"  # the split of a row that names none


class Row(NamedTuple):
    """An image that is not decoded yet: its name in messages, its bytes or its path, caption and other columns."""

    name: str
    image: bytes | pathlib.Path
    caption: str
    record: dict

    @property
    def split(self):
        return self.record.get("split", TRAIN)


class Source:
    """A sequence of rows in any order: `len(source)`, and `source[index]` is a `Row`.

    Images and captions are read when they are asked for, by several threads at once. A source is pickled to other
    processes, so it holds the places of its rows and neither open files nor images.

    Attributes:
        shards: the files it is in, for sources of shards.
        blocks: None, or where rows are stored in blocks that are read as a whole, the block of each row, int (n,).
        blocks_at_once: how many of these blocks are kept in memory.
    """

    blocks = None
    blocks_at_once = 1

    def read(self, numbers):
        """The rows of some numbers, a list; quicker than one by one where a source overrides it."""
        return [self[int(number)] for number in numbers]

    def splits(self):
        """The split of each row, an array of strings (n,)."""
        return np.array([row.split for row in self])

    def marks(self):
        """Yields texts, of which one changes where the rows do, without reading them."""
        for shard in self.shards:
            yield file_mark(shard)

    def __iter__(self):
        return (self[index] for index in range(len(self)))


class Subset(Source):
    """Some rows of a source, by their numbers."""

    def __init__(self, source, rows):
        self.source, self.rows = source, np.asarray(rows, "int64")
        self.blocks_at_once = source.blocks_at_once
        self.blocks = None if source.blocks is None else np.unique(source.blocks[self.rows], return_inverse=True)[1]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.source[int(self.rows[index])]

    def read(self, numbers):
        return self.source.read(self.rows[np.asarray(numbers)])

    def splits(self):
        return self.source.splits()[self.rows]

    def marks(self):
        yield from self.source.marks()
        yield hashlib.sha256(self.rows.tobytes()).hexdigest()


class Joined(Source):
    """The rows of several sources, one after the other."""

    def __init__(self, parts):
        self.parts = parts
        self.starts = np.cumsum([0, *map(len, parts)])

    def __len__(self):
        return int(self.starts[-1])

    def __getitem__(self, index):
        part = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.parts[part][index - int(self.starts[part])]

    def read(self, numbers):
        numbers = np.asarray(numbers)
        rows, parts = [None] * len(numbers), np.searchsorted(self.starts, numbers, side="right") - 1
        for part in np.unique(parts):
            (places,) = np.nonzero(parts == part)
            for place, row in zip(places, self.parts[part].read(numbers[places] - self.starts[part]), strict=True):
                rows[place] = row
        return rows

    def splits(self):
        return np.concatenate([part.splits() for part in self.parts])

    def marks(self):
        return itertools.chain.from_iterable(part.marks() for part in self.parts)


def shuffled(rng, source):
    """The numbers of all rows of a source in random order, int (n,).

    Where a source is stored in more blocks than are kept in memory, the blocks come in random order, `blocks_at_once`
    of them with their rows mixed at a time.
    """
    order, blocks = rng.permutation(len(source)), source.blocks
    if blocks is None or blocks.max() < source.blocks_at_once:
        return order
    turns = rng.permutation(blocks.max() + 1)[blocks] // source.blocks_at_once
    return order[np.argsort(turns[order], kind="stable")]


def file_mark(path):
    """The name, size and time of a file, as a text."""
    found = os.stat(path)
    return f"{os.path.basename(path)} {found.st_size} {found.st_mtime_ns}"


def fingerprint(source):
    """A checksum of `source.marks()`."""
    value = hashlib.sha256()
    for mark in source.marks():
        value.update(f"{mark}\n".encode("utf-8", "surrogateescape"))
    return value.hexdigest()[:16]


def make_row(name, image, record, where=None):
    """A `Row` of a record with a `caption` (or `text`), which is literal text: nothing in it is prompt syntax.

    Raises:
        ValueError: the caption is missing or empty, or a text is no Unicode; the message says where.
    """
    where = where or name
    key = "caption" if "caption" in record else "text"
    caption = record.pop(key, None)
    if not isinstance(caption, str | bytes):
        raise ValueError(f"`caption` (or `text`) must be a string. Received: {key}={caption!r} in {where}")
    caption = checked_text(caption, f"`{key}` in {where}").strip()
    if not caption:
        raise ValueError(f"`caption` (or `text`) must not be empty. Received: {key}={caption!r} in {where}")
    for column, value in record.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                checked_text(text, f"`{column}` in {where}")
    return Row(name, image, caption, record)


def shorten(names, shown=5):
    """The number of names and the first few of them, for messages."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{len(names)} file(s): {', '.join(map(str, names[:shown]))}{more}"
