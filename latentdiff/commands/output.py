"""Where the images of one command go: a file, or a folder with a manifest."""

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path

from latentdiff.commands import UsageError
from latentdiff.whole_files import write_bytes, write_text

MANIFEST = "manifest.json"
# Endings that promise an image of another format.
OTHER_FORMATS = {".avif", ".bmp", ".gif", ".heic", ".heif", ".ico", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jxl"}
OTHER_FORMATS |= {".pdf", ".ppm", ".svg", ".tga", ".tif", ".tiff", ".webp"}
SLUG_LENGTH = 50


class Output:
    """Writes images as they are made. Files that no argument names are never replaced by other images.

    Args:
        path: what `--output` says, or None.
        request: the `Request`.
        grid: whether an image of all images is wanted.

    Raises:
        UsageError: nothing can be written there.
    """

    def __init__(self, path, request, grid):
        many = grid or len(request) > 1
        named = path is not None and path.suffix.lower() == ".png" and not path.is_dir()
        self.file = path if named else None
        if named:
            self.folder = path.parent
        elif path is not None:
            self.folder = path
        else:
            self.folder = Path(_stem(request["prompts"], request["seed"][0])) if many else Path()
        self.grid_only = named and many
        self.has_grid = grid or self.grid_only
        self.manifest = self.folder / MANIFEST if not named and (many or path is not None) else None
        self._check()
        self._entries = _read_manifest(self.manifest)
        self._written = set()
        self._made = []

    def add(self, picture, record):
        """Writes one image, uint8 (height, width, 3), with its record; returns its path, or None in a grid."""
        from latentdiff.data.image_settings import to_png

        if self.has_grid:
            self._made.append((picture, record))
        if self.grid_only:
            return None
        path = self._write(_stem([record["prompt"]], record["seed"]), to_png(picture, record))
        self._entries[path.name] = {"file": path.name, **record}
        self._save_manifest()
        return path

    def save_grid(self):
        """Writes the image of all images made so far, if wanted; returns its path."""
        if not (self.has_grid and self._made):
            return None
        from latentdiff.data.images import encode_png, image_grid

        pictures, records = zip(*self._made, strict=True)
        settings = {"pictures": json.dumps(records, ensure_ascii=False)}
        return self._write("grid", encode_png(image_grid(pictures), settings))

    def prepare(self):
        """Makes the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def _check(self):
        if self.file is None and self.folder.suffix.lower() in OTHER_FORMATS and not self.folder.is_dir():
            raise UsageError(f"--output must be a .png file or a folder. Received: {self.folder}")
        if self.file is not None:
            check_writable(self.file)
        else:
            _check_folder(self.folder)

    def _save_manifest(self):
        """Writes the list of all images in the folder in one stroke; other processes may add to it meanwhile."""
        if self.manifest is None:
            return
        with _only_writer(self.folder):
            self._entries = {**_read_manifest(self.manifest), **self._entries}
            text = json.dumps(list(self._entries.values()), indent=2, ensure_ascii=False)
            write_text(self.manifest, text + "\n")

    def _write(self, stem, data):
        """Writes into the file that was asked for, else into the first of STEM.png, STEM-2.png, ... that is free."""
        path, number = self.file or self.folder / f"{stem}.png", 1
        with _only_writer(self.folder):
            while self.file is None and not self._is_free(path, data):
                number += 1
                path = self.folder / f"{stem}-{number}.png"
            write_bytes(path, data)
        self._written.add(path)
        return path

    def _is_free(self, path, data):
        """Whether there is no such file, or one with this very image, from an earlier run."""
        return path not in self._written and (not path.exists() or (path.is_file() and path.read_bytes() == data))


def _only_writer(folder):
    """Within it no other process of this command chooses names in the folder. The lock lies outside of it."""
    import filelock

    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return filelock.FileLock(Path(tempfile.gettempdir()) / f"latentdiff-{name}.lock")


def check_writable(path):
    """Raises UsageError unless the file can be written; its folders need not exist yet."""
    if path.is_dir():
        raise UsageError(f"{path} can't be written: it is a folder")
    if path.exists() and not os.access(path, os.W_OK):
        raise UsageError(f"{path} can't be written: permission denied")
    _check_folder(path.parent)


def _check_folder(folder):
    """Raises UsageError unless files can be written into `folder`, which need not exist yet."""
    folder = folder.absolute()
    try:
        ancestor = next(place for place in (folder, *folder.parents) if place.exists())
        if not ancestor.is_dir():
            raise UsageError(f"nothing can be written into {folder}: {ancestor} is not a folder")
        with tempfile.TemporaryFile(dir=ancestor):
            pass
    except OSError as error:
        raise UsageError(f"nothing can be written into {folder}: {error.strerror}") from error


def _stem(prompts, seed):
    """A file name without ending, such as `a-red-apple-3d-seed-7`, for one image or for many."""
    slug = re.sub(r"[\W_]+", "-", prompts[0].lower()).strip("-")[:SLUG_LENGTH].strip("-") or "picture"
    others = len(set(prompts)) - 1
    return f"{slug}{f'-and-{others}-more' if others else ''}-seed-{seed}"


def _read_manifest(path):
    """The entries of an earlier manifest by file name; none where there is no manifest."""
    if path is None or not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {entry["file"] + "": entry for entry in entries}  # a name that is no text is a TypeError
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(f"{path} is not a manifest that images can be added to: choose another folder") from error
