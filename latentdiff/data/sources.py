"""The sources of `latentdiff.data.captioned_images.load_images`: each reader gives a `Row` for every image."""

import glob
import itertools
import pathlib
import urllib.parse

import numpy as np

from latentdiff.data.folders import IMAGE_SUFFIXES, list_files, read_caption_files, read_folder
from latentdiff.data.rows import make_row, shorten
from latentdiff.settings.texts import checked_text


def read_rows(source, split=None):
    """Yields the rows of any source, see `load_images`."""
    if source.startswith("tfds:"):
        return read_tfds(source, split)
    return _keep_split(read_files(source), split)


def read_files(source):
    """Yields the rows of a file, a glob or a folder, see `load_images`."""
    path = pathlib.Path(source)
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return read_caption_files([path])
    if path.is_file() or not path.exists() and glob.has_magic(source):
        shards = [path] if path.is_file() else sorted(map(pathlib.Path, glob.glob(source, recursive=True)))
        others = [shard.name for shard in shards if shard.suffix != ".parquet"]
        if others or not shards:
            received = f"source={source!r}" + (f" with {shorten(others)}" if others else ", which matches nothing")
            raise ValueError(f"`source` must name a folder, parquet shards or `tfds:NAME`. Received: {received}")
        return _read_parquet(shards)
    if not path.is_dir():
        raise ValueError(f"`source` must be an existing path. Received: source={source!r}")
    files = list_files(path)
    shards = [file for file in files if file.suffix == ".parquet"]
    has_images = any(file.suffix.lower() in IMAGE_SUFFIXES for file in files)
    if bool(shards) == has_images:
        found = "both" if shards else "neither"
        raise ValueError(
            f"`source` must hold either parquet shards or images. Received: source={source!r}, which has {found}"
        )
    return _read_parquet(shards) if shards else read_folder(path, files)


def _keep_split(rows, split):
    seen = set()
    for row in rows:
        seen.add(row.record.get("split", "train"))
        if split is None or row.record.get("split", "train") == split:
            yield row
    if split is not None and seen and split not in seen:
        raise ValueError(f"`split` must be one of {sorted(map(str, seen))}. Received: split={split!r}")


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
                    yield make_row(name, image, record)
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"`source` must hold readable parquet shards. Received: {shard} ({error})") from error


def read_tfds(source, split):
    """Yields the rows of a `tfds:NAME?option=value&...` source, see `load_images`."""
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
                raise ValueError(f"`caption` must be known for each image. Received: no {caption!r} in {where}")
            if hasattr(builder.info.features[caption], "names"):
                record[caption], text = text, text.replace("_", " ")
            yield make_row(where, data, {"split": part, **record, "caption": text})


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
    return checked_text(value, "`source`") if isinstance(value, bytes) else value.item()
