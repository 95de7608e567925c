"""The sources of `latentdiff.data.batches.load_pictures`: each reader gives a `Row` for every captioned picture."""

import glob
import itertools
import json
import pathlib
import urllib.parse
from typing import NamedTuple

import numpy as np
from PIL import Image

from latentdiff.data.images import to_rgb

IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class Row(NamedTuple):
    """A picture that is not decoded yet: its name in messages, its bytes or its path, caption and other columns."""

    name: str
    image: bytes | pathlib.Path
    caption: str
    record: dict


def prepare_picture(image, image_size):
    """Turns any Pillow image into a uint8 array (image_size, image_size, 3), as `load_pictures` describes."""
    image = to_rgb(image)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    if side % image_size == 0:
        return np.asarray(image.reduce(side // image_size))
    return np.asarray(image.resize((image_size, image_size), Image.Resampling.LANCZOS))


def read_files(source):
    """Yields the rows of a file, a glob or a folder, see `load_pictures`."""
    path = pathlib.Path(source)
    if path.is_file() or not path.exists() and glob.has_magic(source):
        shards = [path] if path.is_file() else sorted(map(pathlib.Path, glob.glob(source, recursive=True)))
        others = [shard.name for shard in shards if shard.suffix != ".parquet"]
        if others or not shards:
            received = f"source={source!r}" + (f" with {shorten(others)}" if others else ", which matches nothing")
            raise ValueError(f"`source` must name a folder, parquet shards or `tfds:NAME`. Received: {received}")
        return _read_parquet(shards)
    if not path.is_dir():
        raise ValueError(f"`source` must be an existing path. Received: source={source!r}")
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    files = [file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    shards = [file for file in files if file.suffix == ".parquet"]
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if bool(shards) == bool(images):
        found = "both" if shards else "neither"
        raise ValueError(
            f"`source` must hold either parquet shards or images. Received: source={source!r}, which has {found}"
        )
    if shards:
        return _read_parquet(shards)
    if (path / "metadata.jsonl").is_file():
        return _read_metadata(path, images)
    return _read_caption_files(images, [file for file in files if file.suffix == ".txt"])


def _read_parquet(shards):
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError("`source` of parquet shards needs pyarrow: pip install latentdiff[train]") from error
    for shard in shards:
        try:
            with parquet.ParquetFile(shard) as file:
                columns = file.schema_arrow.names
                if "image" not in columns or not {"caption", "text"} & set(columns):
                    raise ValueError(f"`source` needs columns `image` and `caption`. Received: {shard} with {columns}")
                rows = itertools.chain.from_iterable(batch.to_pylist() for batch in file.iter_batches(batch_size=256))
                for index, record in enumerate(rows):
                    name = f"{shard}, row {index}"
                    image = record.pop("image")
                    image = image.get("bytes") if isinstance(image, dict) else image
                    if not isinstance(image, bytes):
                        raise ValueError(f"`image` must hold bytes. Received: {type(image).__name__} in {name}")
                    yield Row(name, image, _pop_caption(record, name), record)
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"`source` must hold readable parquet shards. Received: {shard} ({error})") from error


def _read_metadata(folder, images):
    listed = set()
    rows = []
    metadata = folder / "metadata.jsonl"
    for number, line in enumerate(_read_text(metadata).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{metadata}, line {number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"`source` needs a JSON object in each line. Received: {line[:60]!r} in {where}"
            ) from error
        name = record.pop("file_name", None) if isinstance(record, dict) else None
        if not isinstance(name, str) or not (folder / name).is_file():
            raise ValueError(f"`file_name` must name a file in the folder. Received: {line[:60]!r} in {where}")
        listed.add((folder / name).resolve())
        rows.append(Row(str(folder / name), folder / name, _pop_caption(record, where), record))
    missing = [str(image) for image in images if image.resolve() not in listed]
    if missing:
        raise ValueError(f"`source` needs a line in {metadata} for each image. Received: {shorten(missing)} without")
    return rows


def _read_caption_files(images, texts):
    missing = [str(image) for image in images if not image.with_suffix(".txt").is_file()]
    strays = sorted(set(texts) - {image.with_suffix(".txt") for image in images})
    if missing or strays:
        lacks = [f"{shorten(missing)} without a caption"] * bool(missing)
        lacks += [f"{shorten(list(map(str, strays)))} without an image"] * bool(strays)
        raise ValueError(
            "`source` needs a `.txt` file with a caption beside each image, or a `metadata.jsonl` that lists all. "
            f"Received: {'; '.join(lacks)}"
        )
    return (Row(str(image), image, _read_text(image.with_suffix(".txt")).strip(), {}) for image in images)


def _read_text(path):
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"`source` must have captions in UTF-8. Received: {path} ({error})") from error


def _pop_caption(record, where):
    key = "caption" if "caption" in record else "text"
    caption = record.pop(key, None)
    if not isinstance(caption, str):
        raise ValueError(f"`caption` (or `text`) must be a string. Received: {key}={caption!r} in {where}")
    return caption


def shorten(names, shown=5):
    """The number of names and the first few of them, for messages."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{len(names)} file(s): {', '.join(names[:shown])}{more}"


def read_tfds(source, split):
    """Yields the rows of a `tfds:NAME?option=value&...` source, see `load_pictures`."""
    name, _, query = source.removeprefix("tfds:").partition("?")
    options = dict(urllib.parse.parse_qsl(query))
    if set(options) - {"data_dir", "image", "caption"}:
        raise ValueError(f"`source` may have the options data_dir, image and caption. Received: source={source!r}")
    try:
        import tensorflow  # noqa: F401
        import tensorflow_datasets as tfds

        builder = tfds.builder(name, data_dir=options.get("data_dir"))
    except ImportError as error:
        needs = "tensorflow tensorflow-datasets importlib_resources"
        raise ValueError(f"`source` of TensorFlow Datasets needs: pip install {needs}. Received: {error}") from error
    except tfds.core.registered.DatasetNotFoundError as error:
        raise ValueError(f"`source` must name a TensorFlow Datasets dataset. Received: source={source!r}") from error
    image = _choose_image(tfds, builder.info.features, options.get("image"), source)
    caption = _choose_caption(tfds, builder.info.features, options.get("caption"), source)
    builder.download_and_prepare()
    for part in sorted(builder.info.splits) if split is None else [split]:
        for index, record in enumerate(_read_examples(tfds, builder, part, image)):
            where = f"{name} {part}, example {index}"
            data, text = record.pop(image), record.pop(caption)
            if text is None:
                raise ValueError(f"`caption` must be known for each picture. Received: no {caption!r} in {where}")
            if hasattr(builder.info.features[caption], "names"):
                record[caption], text = text, text.replace("_", " ")
            yield Row(where, data, text, {"split": part, **record})


def _read_examples(tfds, builder, split, image):
    """Yields dicts of the encoded image and of the features that are texts, labels, scalars or lists of those."""
    features = builder.info.features
    kept = {key: True for key, feature in features.items() if key == image or _is_plain(tfds, feature)}
    decoders = tfds.decode.PartialDecoding(kept, decoders={image: tfds.decode.SkipDecoding()})
    config = tfds.ReadConfig(try_autocache=False)
    try:
        examples = builder.as_dataset(split=split, decoders=decoders, read_config=config, shuffle_files=False)
    except (KeyError, ValueError) as error:
        splits = sorted(builder.info.splits)
        raise ValueError(f"`split` must be one of {splits}, or a slice of one. Received: split={split!r}") from error
    for example in tfds.as_numpy(examples):
        data = bytes(example.pop(image))
        yield {image: data} | {key: _to_python(features[key], value) for key, value in example.items()}


def _choose_image(tfds, features, asked, source):
    images = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
    found = [key for key in images if features[key].np_dtype == np.uint8]
    choices = [key for key in ([asked] if asked else ["image", *found]) if key in found]
    if not choices:
        raise ValueError(f"`source` must have a uint8 image feature. Received: source={source!r} with images {images}")
    return choices[0]


def _choose_caption(tfds, features, asked, source):
    texts = [key for key, feature in features.items() if isinstance(feature, tfds.features.Text)]
    labels = [key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    known = [key for key in ("caption", "text", "label") if key in texts + labels]
    choices = [asked] if asked in texts + labels else [] if asked else known + labels + texts
    if not choices:
        raise ValueError(
            "`source` must have a text or label feature for captions. "
            f"Received: source={source!r} with texts {texts} and labels {labels}"
        )
    return choices[0]


def _is_plain(tfds, feature):
    feature = getattr(feature, "feature", feature)
    return isinstance(feature, tfds.features.Tensor) and feature.shape == ()


def _to_python(feature, value):
    if hasattr(feature, "feature"):
        return [_to_python(feature.feature, item) for item in value]
    if hasattr(feature, "names"):
        return feature.int2str(int(value)) if value >= 0 else None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value.item()
