"""TensorFlow Datasets as sources of captioned images."""

import contextlib
import urllib.parse

import numpy as np

from latentdiff.data.memory import total_memory
from latentdiff.data.rows import Source, make_row
from latentdiff.settings.texts import checked_text


class TfdsSplit(Source):
    """One split of a dataset, or a slice of one, such as "train[:10%]".

    Sets in files with random access (ArrayRecord, parquet) are read row by row; the encoded images of others are held
    in memory.

    Args:
        source: `tfds:NAME?option=value&...`, see `load_images`.
        split: str.
    """

    def __init__(self, source, split):
        self.source, self.split = source, split
        self._open()

    def __getstate__(self):
        return {"source": self.source, "split": self.split}

    def __setstate__(self, state):
        self.__init__(**state)

    def _open(self):
        tfds, self.builder, options = open_builder(self.source)
        self.features = self.builder.info.features
        self.image = _choose_image(tfds, self.features, options.get("image"), self.source)
        self.caption = _choose_caption(tfds, self.features, options.get("caption"), self.source)
        self.kept = [key for key, feature in self.features.items() if key == self.image or _is_plain(tfds, feature)]
        self.examples = _examples(tfds, self.builder, self.split, self.image, self.kept)

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        return self._row(index, self.examples[index])

    def read(self, numbers):
        numbers = [int(number) for number in numbers]
        if isinstance(self.examples, list):
            return super().read(numbers)
        return [self._row(*pair) for pair in zip(numbers, self.examples.__getitems__(numbers), strict=True)]

    def _row(self, index, example):
        where = f"{self.builder.name} {self.split}, example {index}"
        data = bytes(example[self.image])
        record = {key: _to_python(self.features[key], example[key]) for key in self.kept if key != self.image}
        text = record.pop(self.caption)
        if text is None:
            raise ValueError(f"`caption` must be known for each image. Received: no {self.caption!r} in {where}")
        if hasattr(self.features[self.caption], "names"):
            record[self.caption], text = text, text.replace("_", " ")
        return make_row(where, data, {"split": self.split, **record, "caption": text})

    def splits(self):
        return np.full(len(self), self.split)

    def marks(self):
        info = self.builder.info
        yield f"{info.full_name} {self.split} {len(self)} {info.dataset_size} {self.image} {self.caption}"


def open_builder(source):
    """(the library, the builder of a prepared dataset, dict of options) of `tfds:NAME?option=value&...`."""
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
    builder.download_and_prepare()
    return tfds, builder, options


def _examples(tfds, builder, split, image, kept):
    """A sequence of dicts of a split, with the encoded image."""
    decoders = {image: tfds.decode.SkipDecoding()}
    with _known(builder, split):
        try:
            return builder.as_data_source(split=split, decoders=decoders)
        except NotImplementedError:  # a file format without random access
            pass
    _check_memory(builder)
    decoders = tfds.decode.PartialDecoding(dict.fromkeys(kept, True), decoders=decoders)
    options = {"read_config": tfds.ReadConfig(try_autocache=False), "shuffle_files": False, "decoders": decoders}
    with _known(builder, split):
        return list(tfds.as_numpy(builder.as_dataset(split=split, **options)))


@contextlib.contextmanager
def _known(builder, split):
    """Within it, what the library says of an unknown split is a ValueError that names the known ones."""
    try:
        yield
    except (KeyError, ValueError) as error:
        splits = sorted(builder.info.splits)
        raise ValueError(f"`split` must be one of {splits}, or a slice of one. Received: split={split!r}") from error


def _check_memory(builder):
    if builder.info.dataset_size > total_memory() / 2:
        raise ValueError(
            "`source` must have files with random access, or fit into memory: prepare the dataset with "
            f"`file_format='array_record'`. Received: {builder.name} of {builder.info.dataset_size} bytes"
        )


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
    return checked_text(value, "`source`") if isinstance(value, bytes | str) else value.item()
