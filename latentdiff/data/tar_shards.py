"""Tar shards of captioned images, as WebDataset writes them: the members of one image have one name but for its end."""

import json
import mmap
import pathlib
import tarfile
from array import array

from latentdiff.data.folders import IMAGE_SUFFIXES
from latentdiff.data.mapped import mapped
from latentdiff.data.packed_texts import PackedTexts
from latentdiff.data.rows import Source, make_row

NOWHERE = -1
BLOCK = 512  # bytes


class TarShards(Source):
    """The images of uncompressed tar files, each with a caption in a `.txt` member or a `caption` in a `.json` member.

    `cat.jpg`, `cat.txt` and `cat.json` belong together and follow each other; members with other endings are passed
    over. The headers are read once, when the source is made.

    Args:
        shards: paths.

    Reference: Aizman et al., High Performance I/O For Large Scale Deep Learning, 2020, arXiv:2001.01858.
    """

    def __init__(self, shards):
        self.shards = list(shards)
        shard_of, places = array("i"), array("q")
        self.names = PackedTexts(self._index(shard_of, places))
        self.shard_of, self.places = mapped(shard_of, "int32"), mapped(places, "int64")  # 6 places an image

    def _index(self, shard_of, places):
        """Yields the names of all images, and appends where they are."""
        for number, shard in enumerate(self.shards):
            for name, members in _samples(shard):
                shard_of.append(number)
                for kind in ("image", "text", "json"):
                    places.extend(members.get(kind, (NOWHERE, 0)))
                yield name

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        name = self._name(index)
        image, text, record = self._read(index)
        record = {} if record is None else _parse(record, name)
        if text is not None:
            record["caption"] = text
        return make_row(name, image, record)

    def _name(self, index):
        return f"{self.shards[self.shard_of[index]]}, {self.names[index]}"

    def _read(self, index):
        """The bytes of the image, the text and the JSON; None for what is not there."""
        places = self.places[6 * index : 6 * index + 6].tolist()
        with open(self.shards[self.shard_of[index]], "rb") as file:
            return [_read_at(file, *place) for place in zip(places[::2], places[1::2], strict=True)]


def _samples(shard):
    """Yields (name, dict of kind -> (place, size)) of each image of a tar file."""
    key, members = None, {}
    for name, place, size in _members(shard):
        stem, _, suffix = name.rpartition("/")[2].partition(".")
        stem = name[: len(name) - len(suffix) - 1]
        if stem != key:
            yield from _sample(shard, key, members)
            key, members = stem, {}
        kind = _kind(suffix)
        if kind in members:
            raise ValueError(f"`source` must hold one {kind} file of each name. Received: {shard} with two of {stem}")
        if kind:
            members[kind] = (place, size)
    yield from _sample(shard, key, members)


def _sample(shard, key, members):
    if not members:
        return
    if "image" not in members or len(members) < 2:
        lacks = "a caption" if "image" in members else "an image"
        raise ValueError(
            f"`source` needs an image and a `.txt` or `.json` of the same name, one behind the other. "
            f"Received: {shard} with {key} without {lacks}"
        )
    yield key, members


def _members(shard):
    """Yields the name, place and size in bytes of all plain files of a tar file."""
    try:
        with open(shard, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            header = 0
            while data[header : header + BLOCK] != bytes(BLOCK):  # a zero block ends a tar file
                name, place, size, header = _read_header(file, data, header)
                if name is not None:
                    yield name, place, size
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise ValueError(
            f"`source` must hold readable, uncompressed tar shards. Received: {shard} ({error})"
        ) from error


def _read_header(file, data, start):
    """Name (None for what is no file), place and size of the member whose header is at `start`, and where the next is.

    Plain headers are read here, several times as fast as by `tarfile`, which reads those of long names and others.
    """
    header = data[start : start + BLOCK]
    if len(header) < BLOCK:
        raise tarfile.ReadError("it is cut off")
    magic, kind, size = header[257:263], header[156:157], header[124:136]
    if magic not in (b"ustar\0", b"ustar ") or kind not in b"0\0" or size[0] & 0x80:
        return _read_other(file, start)
    if _number(header[148:156]) != sum(header[:148]) + 8 * ord(" ") + sum(header[156:]):
        raise tarfile.ReadError("bad checksum")
    place, size = start + BLOCK, _number(size)
    if place + size > len(data):
        raise tarfile.ReadError("it is cut off")
    folder = _text(header[345:500]) if magic == b"ustar\0" else ""
    name = f"{folder}/{_text(header[:100])}" if folder else _text(header[:100])
    return name, place, size, place + -(-size // BLOCK) * BLOCK


def _read_other(file, start):
    file.seek(start)
    with tarfile.open(fileobj=file, mode="r:") as tar:
        member = tar.next()
        return (member.name if member.isfile() else None), member.offset_data, member.size, tar.offset


def _number(field):
    return int(field.strip(b" \0") or b"0", 8)


def _text(field):
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _kind(suffix):
    suffix = pathlib.PurePath(f"a.{suffix}").suffix.lower()
    return "image" if suffix in IMAGE_SUFFIXES else {".txt": "text", ".json": "json"}.get(suffix)


def _read_at(file, place, size):
    if place == NOWHERE:
        return None
    file.seek(place)
    return file.read(size)


def _parse(data, name):
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`source` needs a JSON object for each image. Received: {data[:60]!r} in {name}") from error
    if not isinstance(record, dict):
        raise ValueError(f"`source` needs a JSON object for each image. Received: {data[:60]!r} in {name}")
    return record
