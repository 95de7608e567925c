"""The same captioned images as each kind of source, written by the libraries that own the formats."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image


def some_images(count, side=8):
    """Random images, uint8 (count, side, side, 3)."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), "uint8")


def encode(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def records_of(images):
    """dicts of the encoded `image`, its `caption` and `split`; each third one is held out."""
    splits = ["validation" if row % 3 == 2 else "train" for row in range(len(images))]
    return [
        {"image": encode(image), "caption": f"image {row}", "split": split}
        for row, (image, split) in enumerate(zip(images, splits, strict=True))
    ]


def write_folder(folder, records):
    lines = []
    for row, record in enumerate(records):
        (folder / f"{row:04}.png").write_bytes(record["image"])
        lines.append({"file_name": f"{row:04}.png", "caption": record["caption"], "split": record["split"]})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def write_parquet(folder, records):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    half = len(records) // 2
    for number, part in enumerate((records[:half], records[half:])):
        parquet.write_table(pyarrow.Table.from_pylist(part), folder / f"{number}.parquet", row_group_size=2)
    return folder


def write_tar(folder, records):
    half = len(records) // 2
    for number, part in enumerate((records[:half], records[half:])):
        members = []
        for row, record in enumerate(part):
            told = {"caption": record["caption"], "split": record["split"]}
            members += [(f"{row:04}.png", record["image"]), (f"{row:04}.json", json.dumps(told).encode())]
        write_members(folder / f"{number}.tar", members)
    return folder


def write_members(path, members, mode="w"):
    """A tar file of (name, bytes) pairs."""
    with tarfile.open(path, mode) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def write_array_record(folder, records):
    module = pytest.importorskip("array_record.python.array_record_module")
    writer = module.ArrayRecordWriter(str(folder / "a.array_record-00000-of-00001"), "group_size:1")
    for record in records:
        writer.write(example(record))
    writer.close()
    return folder


def example(record):
    """A serialized `tf.train.Example`, by TensorFlow."""
    tf = pytest.importorskip("tensorflow")
    values = {name: value if isinstance(value, bytes) else value.encode() for name, value in record.items()}
    features = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for name, value in values.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def import_tfds():
    """TensorFlow Datasets with the packages that it needs to write a dataset."""
    for name in ("tensorflow", "importlib_resources"):
        pytest.importorskip(name)
    return pytest.importorskip("tensorflow_datasets")


def store_tfds(folder, name, features, splits, **options):
    """Writes a dataset: features by name, and for each split a list of (key, example)."""
    tfds = import_tfds()
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        data_dir=folder,
        features=tfds.features.FeaturesDict(features),
        split_datasets=splits,
        description="",
        **options,
    )


def write_tfds(folder, records, file_format="array_record"):
    tfds = import_tfds()
    parts = {}
    for row, record in enumerate(records):
        pixels = np.asarray(Image.open(io.BytesIO(record["image"])))
        parts.setdefault(record["split"], []).append((row, {"image": pixels, "caption": record["caption"]}))
    features = {"image": tfds.features.Image(encoding_format="png"), "caption": tfds.features.Text()}
    store_tfds(folder, "some_images", features, parts, file_format=file_format, disable_shuffling=True)
    return f"tfds:some_images?data_dir={folder}"


KINDS = {
    "folder": write_folder,
    "parquet": write_parquet,
    "tar": write_tar,
    "array_record": write_array_record,
    "tfds": write_tfds,
}
