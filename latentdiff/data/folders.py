"""Folders of images with captions, in text files beside them or in one `metadata.jsonl`."""

import json
import warnings

from latentdiff.data.rows import make_row, shorten

IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
METADATA = "metadata.jsonl"


def list_files(folder):
    """All files below a folder, sorted. Hidden ones are passed over, linked folders are followed once.

    Raises:
        ValueError: links that lead nowhere, or back to a folder that they are in; names them.
    """
    files, dangling, seen = [], [], {}

    def visit(place, above):
        real = place.resolve()
        if real in above:
            raise ValueError(f"`source` must have no links that lead in a circle. Received: {place} -> {real}")
        if real in seen:
            warnings.warn(f"{place} is the same folder as {seen[real]}: its files are read once", stacklevel=2)
            return
        seen[real] = place
        for path in sorted(place.iterdir()):
            if path.name.startswith("."):
                continue
            if path.is_dir():
                visit(path, above | {real})
            elif path.is_file():
                files.append(path)
            elif path.is_symlink():
                dangling.append(path)

    visit(folder, frozenset())
    if dangling:
        raise ValueError(f"`source` must have no links that lead nowhere. Received: {shorten(dangling)}")
    return sorted(files)


def read_folder(folder, files):
    """The rows of a folder of images; `files` are those of `list_files`."""
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if (folder / METADATA).is_file():
        return _read_metadata(folder, images)
    return read_caption_files(images, [file for file in files if file.suffix == ".txt"])


def read_caption_files(images, texts=()):
    """The rows of image files with a caption in a `.txt` file of the same name beside each.

    Args:
        images: paths.
        texts: all `.txt` files of the folder; one without an image is an error.
    """
    missing = [image for image in images if not image.with_suffix(".txt").is_file()]
    strays = sorted(set(texts) - {image.with_suffix(".txt") for image in images})
    if missing or strays:
        lacks = [f"{shorten(missing)} without a caption"] * bool(missing)
        lacks += [f"{shorten(strays)} without an image"] * bool(strays)
        raise ValueError(
            f"`source` needs a `.txt` file with a caption beside each image, or a `{METADATA}` that lists all. "
            f"Received: {'; '.join(lacks)}"
        )
    return (
        make_row(str(image), image, {"caption": _read_text(image.with_suffix(".txt"))}, str(image.with_suffix(".txt")))
        for image in images
    )


def _read_metadata(folder, images):
    listed = set()
    rows = []
    metadata = folder / METADATA
    for number, line in enumerate(_read_text(metadata).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{metadata}, line {number}"
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(
                f"`source` needs a JSON object in each line. Received: {line[:60]!r} in {where}"
            ) from error
        name = record.pop("file_name", None) if isinstance(record, dict) else None
        if not _names_file(folder, name):
            raise ValueError(f"`file_name` must name a file in the folder. Received: {line[:60]!r} in {where}")
        listed.add((folder / name).resolve())
        if not isinstance(record.get("split", ""), str):
            raise ValueError(f"`split` must be a string. Received: split={record['split']!r} in {where}")
        rows.append(make_row(str(folder / name), folder / name, record, where))
    missing = [image for image in images if image.resolve() not in listed]
    if missing:
        raise ValueError(f"`source` needs a line in {metadata} for each image. Received: {shorten(missing)} without")
    return rows


def _names_file(folder, name):
    try:
        return isinstance(name, str) and (folder / name).is_file()
    except (ValueError, OSError):  # a NUL, a lone surrogate, a name that is too long
        return False


def _read_text(path):
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"`source` must have captions in UTF-8. Received: {path} ({error})") from error
