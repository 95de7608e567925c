"""Folders of images with captions, in text files beside them or in one `metadata.jsonl`."""

import json
import os
import warnings
from array import array

import numpy as np

from latentdiff.data.mapped import mapped
from latentdiff.data.packed_texts import PackedTexts
from latentdiff.data.rows import TRAIN, Source, file_mark, make_row, shorten

IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
METADATA = "metadata.jsonl"


def walk(folder):
    """Yields the paths of all files below a folder, relative to it, as strings, sorted.

    Hidden files are passed over, linked folders are followed once.

    Raises:
        ValueError: links that lead nowhere, or back to a folder that they are in; names them.
    """
    dangling, seen = [], {}

    def visit(place, inside, above):
        real = place.resolve()
        if real in above:
            raise ValueError(f"`source` must have no links that lead in a circle. Received: {place} -> {real}")
        if real in seen:
            warnings.warn(f"{place} is the same folder as {seen[real]}: its files are read once", stacklevel=2)
            return
        seen[real] = place
        names, folders, others = _entries(place)
        for name in names:
            if name in folders:
                yield from visit(place / name, f"{inside}{name}/", above | {real})
            elif name not in others:
                yield inside + name
            elif (place / name).is_symlink():
                dangling.append(place / name)

    yield from visit(folder, "", frozenset())
    if dangling:
        raise ValueError(f"`source` must have no links that lead nowhere. Received: {shorten(dangling)}")


def _entries(folder):
    """The sorted names of what is not hidden in a folder; which are folders; which are neither files nor folders."""
    names, folders, others = [], set(), set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            names.append(entry.name)
            if entry.is_dir():
                folders.add(entry.name)
            elif not entry.is_file():
                others.add(entry.name)
    return sorted(names), folders, others


def read_folder(folder, images, texts):
    """The source of a folder.

    Args:
        folder: Path.
        images: `PackedTexts`, the paths of its images within it.
        texts: those of its `.txt` files.
    """
    if (folder / METADATA).is_file():
        return MetadataFile(folder, images)
    return CaptionFiles(folder, images, texts)


class CaptionFiles(Source):
    """Image files with a caption in a `.txt` file of the same name beside each. Arguments as `read_folder`."""

    def __init__(self, folder, images, texts):
        self.folder, self.images = folder, images
        captioned, captions = _hashes(images, _stem), _hashes(texts, _stem)
        missing = [folder / images[row] for row in np.flatnonzero(~np.isin(captioned, captions))]
        strays = [folder / texts[row] for row in np.flatnonzero(~np.isin(captions, captioned))]
        if missing or strays:
            lacks = [f"{shorten(missing)} without a caption"] * bool(missing)
            lacks += [f"{shorten(strays)} without an image"] * bool(strays)
            raise ValueError(
                f"`source` needs a `.txt` file with a caption beside each image, or a `{METADATA}` that lists all. "
                f"Received: {'; '.join(lacks)}"
            )

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.folder / self.images[index]
        text = image.with_suffix(".txt")
        return make_row(str(image), image, {"caption": _decode(text.read_bytes(), text)}, str(text))

    def splits(self):
        return np.full(len(self), TRAIN)

    def marks(self):
        for image in self.images:
            yield image
            yield file_mark(self.folder / image)
            yield file_mark((self.folder / image).with_suffix(".txt"))


class MetadataFile(Source):
    """Image files that a `metadata.jsonl` lists: one object a line with `file_name` and `caption` (or `text`)."""

    def __init__(self, folder, images):
        self.folder, self.path = folder, folder / METADATA
        self.starts, self.numbers = (mapped(places, "int64") for places in self._find_lines())
        listed = PackedTexts(str(row.image.relative_to(folder)) for row in self)
        others = np.flatnonzero(~np.isin(_hashes(images, os.path.normpath), _hashes(listed, os.path.normpath)))
        if len(others):  # named by another path, or not at all
            listed = {(folder / name).resolve() for name in listed}
            missing = [folder / images[row] for row in others if (folder / images[row]).resolve() not in listed]
            if missing:
                raise ValueError(
                    f"`source` needs a line in {self.path} for each image. Received: {shorten(missing)} without"
                )

    def _find_lines(self):
        starts, numbers, start = array("q"), array("q"), 0
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.removeprefix(b"\xef\xbb\xbf").strip():
                    starts.append(start)
                    numbers.append(number)
                start += len(line)
        return starts, numbers

    def __len__(self):
        return len(self.starts)

    def __getitem__(self, index):
        record, where = self._record(index)
        image = self.folder / record.pop("file_name")
        return make_row(str(image), image, record, where)

    def marks(self):
        yield file_mark(self.path)
        for row in self:
            yield file_mark(row.image)

    def _record(self, index):
        """The object of a line, whose image is there, and where it stands."""
        where = f"{self.path}, line {self.numbers[index]}"
        with open(self.path, "rb") as file:
            file.seek(int(self.starts[index]))
            line = _decode(file.readline(), self.path).rstrip("\r\n")
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(
                f"`source` needs a JSON object in each line. Received: {line[:60]!r} in {where}"
            ) from error
        name = record.get("file_name") if isinstance(record, dict) else None
        if not _names_file(self.folder, name):
            raise ValueError(f"`file_name` must name a file in the folder. Received: {line[:60]!r} in {where}")
        if not isinstance(record.get("split", ""), str):
            raise ValueError(f"`split` must be a string. Received: split={record['split']!r} in {where}")
        return record, where


def _names_file(folder, name):
    try:
        return isinstance(name, str) and (folder / name).is_file()
    except (ValueError, OSError):  # a NUL, a lone surrogate, a name that is too long
        return False


def _hashes(paths, key):
    """A number for each path, int64 (n,): of two that differ it is the same once in 10^19."""
    return np.fromiter((hash(key(path)) for path in paths), "int64", len(paths))


def _stem(path):
    return os.path.splitext(path)[0]


def _decode(data, path):
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"`source` must have captions in UTF-8. Received: {path} ({error})") from error
