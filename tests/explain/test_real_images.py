import io
import json

import numpy as np
import pytest
from PIL import Image

from latentdiff.explain.real_images import RealImages, load_real_images


def png(value, size=(8, 8)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def test_several_sources(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.png").write_bytes(png(10))
    (tmp_path / "a.txt").write_text("a cat (1:2)")
    (tmp_path / "inner/b.png").write_bytes(png(20, (16, 8)))
    (tmp_path / "inner/b.txt").write_text("a dog\n")
    real = load_real_images([tmp_path / "a.png", tmp_path / "inner"], (4, 4))
    assert real.captions == real.labels == ["a cat (1:2)", "a dog"] and not real.training.any()
    assert real.images.shape == (2, 4, 4, 3) and real.images[:, 0, 0, 0].tolist() == [10, 20]


def test_folder_with_metadata(tmp_path):
    rows = [
        {"file_name": "one.png", "text": "a cat", "split": "train"},
        {"file_name": "two.png", "caption": "a dog, flat", "label": "dog"},
    ]
    for row, value in zip(rows, (10, 20), strict=True):
        (tmp_path / row["file_name"]).write_bytes(png(value))
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    real = load_real_images([tmp_path], (8, 8))
    assert real.captions == ["a cat", "a dog, flat"] and real.labels == ["a cat", "dog"]
    assert real.training.tolist() == [True, False] and real.images[:, 0, 0, 0].tolist() == [10, 20]


def test_only_pictures_of_a_known_split_are_called_held_out():
    images = np.zeros((3, 2, 2, 3), "uint8")
    kinds = [RealImages(images, [], [], np.arange(3) < seen).kind for seen in range(4)]
    assert kinds == ["real", "held-out", "held-out", "real"]


def test_parquet_with_labels_and_splits(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"image": [png(10), png(20)], "caption": ["a cat, flat", "a dog, flat"]}
    columns |= {"label": ["cat", "dog"], "split": ["train", "validation"]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "some.parquet")
    real = load_real_images([tmp_path / "some.parquet"], (8, 8))
    assert real.labels == ["cat", "dog"] and real.training.tolist() == [True, False]
    assert real.held_out(5).tolist() == [1]
    parquet.write_table(pyarrow.table({"image": [png(10)]}), tmp_path / "bare.parquet")
    with pytest.raises(ValueError, match="columns `image` and `caption`.*bare.parquet"):
        load_real_images([tmp_path / "bare.parquet"], (8, 8))


def test_what_cannot_be_read_is_named_or_left_out(tmp_path):
    with pytest.raises(ValueError, match="must hold either images or shards of one kind"):
        load_real_images([tmp_path], (8, 8))
    for name, data in {"broken": b"no image", "good": png(5)}.items():
        (tmp_path / f"{name}.png").write_bytes(data)
        (tmp_path / f"{name}.txt").write_text(name)
    with pytest.raises(ValueError, match="readable images.*broken.png"):
        load_real_images([tmp_path], (8, 8))
    with pytest.warns(UserWarning, match="broken.png"):
        assert load_real_images([tmp_path], (8, 8), skip_corrupt=True).captions == ["good"]


def test_held_out_takes_all_where_everything_was_trained_on():
    images = np.zeros((3, 2, 2, 3), "uint8")
    real = RealImages(images, list("abc"), list("abc"), np.ones(3, bool))
    assert sorted(real.held_out(3)) == [0, 1, 2]
