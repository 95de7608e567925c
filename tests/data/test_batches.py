import io
import json
import pathlib
import time

import keras
import numpy as np
import pytest
from PIL import Image

from latentdiff.data.batches import Batches, Pictures, load_pictures, random_flip
from latentdiff.data.sources import prepare_picture

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def encode(image, kind="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def one_colour(name, size=(8, 8)):
    return Image.new("RGB", size, COLOURS[name])


def write_folder(folder, captions="txt"):
    """Three images, one of them in a subfolder, captioned with the name of their colour."""
    for name in COLOURS:
        path = folder / ("sub" if name == "green" else "") / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        one_colour(name).save(path)
        if captions == "txt":
            path.with_suffix(".txt").write_text(f"{name} square\n", encoding="utf-8")
    if captions == "jsonl":
        names = {"red": "red.png", "green": "sub/green.png", "blue": "blue.png"}
        write_lines(folder, [{"file_name": file, "text": f"{name} square"} for name, file in names.items()])
    return folder


def write_lines(folder, lines):
    lines = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")


def write_shard(path, rows):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def shard_rows(**columns):
    rows = [{"image": encode(one_colour(name)), "caption": name, "label": name.upper()} for name in COLOURS]
    return [row | {key: values[index] for key, values in columns.items()} for index, row in enumerate(rows)]


def assert_is(pictures, expected):
    """Each picture has the colour that its caption begins with, in the expected order."""
    assert [caption.split()[0] for caption in pictures.captions] == expected
    for image, name in zip(pictures.images, expected, strict=True):
        np.testing.assert_array_equal(image, np.broadcast_to(np.uint8(COLOURS[name]), image.shape))


# Sources


@pytest.mark.parametrize("captions, expected", [("txt", ["blue", "red", "green"]), ("jsonl", ["red", "green", "blue"])])
def test_folder_of_images(tmp_path, captions, expected):
    pictures = load_pictures(write_folder(tmp_path, captions), image_size=4)
    assert pictures.images.shape == (3, 4, 4, 3) and pictures.images.dtype == np.uint8
    assert_is(pictures, expected)
    assert pictures.captions[0] == f"{expected[0]} square"


def test_metadata_keeps_other_columns_and_splits(tmp_path):
    write_folder(tmp_path, captions=None)
    lines = [{"file_name": "red.png", "caption": "red", "style": "flat", "split": "validation"}]
    lines += ["", {"file_name": "sub/green.png", "caption": "green"}, {"file_name": "blue.png", "caption": "blue"}]
    write_lines(tmp_path, lines)
    held = load_pictures(tmp_path, 8, split="validation")
    assert_is(held, ["red"])
    assert held.records == [{"style": "flat", "split": "validation"}]
    assert_is(load_pictures(tmp_path, 8, split="train"), ["green", "blue"])


def test_parquet_from_file_glob_and_folder(tmp_path):
    rows = shard_rows(split=["train", "validation", "train"])
    rows[2]["caption"] = "blue"
    write_shard(tmp_path / "a.parquet", rows[:2])
    write_shard(tmp_path / "b.parquet", rows[2:])
    for source in (tmp_path, str(tmp_path / "*.parquet")):
        assert_is(load_pictures(source, 8), ["red", "green", "blue"])
        assert_is(load_pictures(source, 8, split="train"), ["red", "blue"])
        assert_is(load_pictures(source, 8, split="train", limit=1), ["red"])
    pictures = load_pictures(tmp_path / "a.parquet", 8, split="validation")
    assert pictures.records == [{"label": "GREEN", "split": "validation"}]


def test_parquet_with_image_struct(tmp_path):
    rows = shard_rows()
    for row in rows:
        row["image"] = {"bytes": row["image"], "path": "x.png"}
        row["text"] = row.pop("caption")
    write_shard(tmp_path / "a.parquet", rows)
    assert_is(load_pictures(tmp_path, 8), ["red", "green", "blue"])


# Errors


@pytest.mark.parametrize("argument", [{"image_size": 0}, {"image_size": 8.0}, {"image_size": 8, "limit": 0}])
def test_bad_numbers(tmp_path, argument):
    with pytest.raises(ValueError, match=f"`{list(argument)[-1]}` must be .*Received: {list(argument)[-1]}="):
        load_pictures(write_folder(tmp_path), **argument)


@pytest.mark.parametrize("source", ["nowhere", "no*.parquet", "empty"])
def test_source_without_pictures(tmp_path, source):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="`source` must .*Received: source=.*" + source.replace("*", r"\*")):
        load_pictures(tmp_path / source, 8)


def test_unknown_split_tells_the_splits(tmp_path):
    write_shard(tmp_path / "a.parquet", shard_rows(split=["train", "validation", "train"]))
    with pytest.raises(ValueError, match=r"`split` must be one of \['train', 'validation'\]. Received: split='test'"):
        load_pictures(tmp_path, 8, split="test")


def test_images_without_caption_are_counted_and_named(tmp_path):
    write_folder(tmp_path)
    for number in range(7):
        one_colour("red").save(tmp_path / f"{number}.png")
    with pytest.raises(ValueError, match=r"7 file\(s\): .*0\.png, .*4\.png and 2 more without a caption"):
        load_pictures(tmp_path, 8)


def test_caption_without_image(tmp_path):
    (write_folder(tmp_path) / "red.png").rename(tmp_path / "redd.png")
    with pytest.raises(ValueError, match=r"redd\.png without a caption; .*red\.txt without an image"):
        load_pictures(tmp_path, 8)


@pytest.mark.parametrize(
    "line, message",
    [
        ('{"file_name": "red.png"', "JSON object.*line 2"),
        ('["red.png"]', "`file_name`.*line 2"),
        ('{"file_name": "gone.png", "text": "x"}', "`file_name` must name a file.*gone.*line 2"),
        ('{"file_name": "red.png"}', "`caption`.*Received: text=None.*line 2"),
    ],
)
def test_bad_metadata_line(tmp_path, line, message):
    write_lines(write_folder(tmp_path, captions=None), [{"file_name": "blue.png", "text": "blue"}, line])
    with pytest.raises(ValueError, match=message):
        load_pictures(tmp_path, 8)


def test_image_without_metadata_line(tmp_path):
    write_lines(write_folder(tmp_path, captions=None), [{"file_name": "blue.png", "text": "blue"}])
    with pytest.raises(ValueError, match=r"2 file\(s\): .*red\.png, .*green\.png without"):
        load_pictures(tmp_path, 8)


@pytest.mark.parametrize("damage", [b"", b"not an image", "half"])
def test_corrupt_image(tmp_path, damage):
    path = write_folder(tmp_path) / "red.png"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), "uint8"))
    path.write_bytes(encode(noise)[:6000] if damage == "half" else damage)
    with pytest.raises(ValueError, match=r"skip_corrupt=True.*red\.png"):
        load_pictures(tmp_path, 8)
    with pytest.warns(UserWarning, match=r"Left out 1 corrupt of 3 pictures: .*red\.png"):
        assert_is(load_pictures(tmp_path, 8, skip_corrupt=True), ["blue", "green"])


def test_all_corrupt(tmp_path):
    write_shard(tmp_path / "a.parquet", [{"image": b"x", "caption": "x"}])
    with pytest.raises(ValueError, match=r"a\.parquet, row 0"):
        load_pictures(tmp_path, 8, skip_corrupt=True)


def test_bad_parquet(tmp_path):
    write_shard(tmp_path / "a.parquet", [{"picture": b"x", "caption": "x"}])
    with pytest.raises(ValueError, match=r"columns `image` and `caption`.*a\.parquet with \['picture', 'caption'\]"):
        load_pictures(tmp_path, 8)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"readable parquet shards. Received: .*a\.parquet"):
        load_pictures(tmp_path, 8)


# Pixels


def test_transparent_becomes_white():
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.putpixel((0, 0), (255, 0, 0, 255))
    pixels = prepare_picture(image, 4)
    assert pixels[0, 0].tolist() == [255, 0, 0] and (pixels[1:] == 255).all()
    palette = Image.new("P", (4, 4))
    palette.info["transparency"] = 0
    assert (prepare_picture(palette, 4) == 255).all()


@pytest.mark.parametrize("size", [(12, 4), (4, 12)])
def test_centre_crop(size):
    image = Image.new("RGB", size, COLOURS["red"])
    image.paste(one_colour("blue", (4, 4)), (4, 0) if size[0] > size[1] else (0, 4))
    assert (prepare_picture(image, 4) == COLOURS["blue"]).all()


def test_whole_factors_average_blocks():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), "uint8")
    means = pixels.reshape(4, 2, 4, 2, 3).mean(axis=(1, 3))
    assert np.abs(prepare_picture(Image.fromarray(pixels), 4) - means).max() <= 0.5
    assert prepare_picture(Image.fromarray(pixels), 3).shape == (3, 3, 3)


def test_exif_orientation(tmp_path):
    image = Image.new("RGB", (8, 8), COLOURS["blue"])
    image.paste(one_colour("red", (8, 4)), (0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the top goes to the right
    image.save(tmp_path / "a.png", exif=exif)
    (tmp_path / "a.txt").write_text("a")
    pixels = load_pictures(tmp_path, 8).images[0]
    assert (pixels[:, 4:] == COLOURS["red"]).all() and (pixels[:, :4] == COLOURS["blue"]).all()


def test_grey_images():
    assert (prepare_picture(Image.new("L", (4, 4), 7), 4) == 7).all()
    deep = Image.fromarray(np.full((4, 4), 257 * 200, "uint16"))
    assert (prepare_picture(deep, 4) == 200).all()


# Pictures


def test_select():
    images = np.arange(3, dtype="uint8").reshape(3, 1, 1, 1).repeat(3, axis=3)
    pictures = Pictures(images, ["a", "b", "c"], [{"i": 0}, {"i": 1}, {"i": 2}])
    for rows in ([False, True, True], [1, 2], np.array([1, 2])):
        chosen = pictures.select(rows)
        assert len(chosen) == 2 and chosen.captions == ["b", "c"] and chosen.records == [{"i": 1}, {"i": 2}]
        assert chosen.images[:, 0, 0, 0].tolist() == [1, 2]
    assert len(pictures.select([])) == 0
    with pytest.raises(ValueError, match="`rows`"):
        pictures.select([True])


# Batches


def rows_of(batches):
    return [batches[index]["row"].tolist() for index in range(len(batches))]


def test_order_follows_seed_and_epoch():
    arrays = {"row": np.arange(10), "twice": 2 * np.arange(10)}
    batches = Batches(arrays, 3, seed=1)
    first = rows_of(batches)
    assert len(first) == 3 and len(set(np.concatenate(first).tolist())) == 9
    np.testing.assert_array_equal(batches[0]["twice"], 2 * batches[0]["row"])
    batches.set_epoch(1)
    second = rows_of(batches)
    batches.set_epoch(0)
    assert rows_of(batches) == first != second
    assert rows_of(Batches(arrays, 3, seed=2)) != first
    assert rows_of(Batches(arrays, 3, shuffle=False, drop_remainder=False)) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    with pytest.raises(IndexError, match="Received: index=3"):
        batches[3]


def test_transform_draws_follow_epoch_and_index():
    def draw(batch, rng):
        return {**batch, "draw": rng.random(2)}

    batches = Batches({"row": np.arange(8)}, 4, transform=draw)
    draws = [batches[0]["draw"], batches[1]["draw"]]
    np.testing.assert_array_equal(batches[0]["draw"], draws[0])
    batches.set_epoch(1)
    draws.append(batches[0]["draw"])
    assert len(set(np.concatenate(draws).tolist())) == 6


@pytest.mark.parametrize(
    "arrays, size", [({}, 1), ({"a": np.zeros(3), "b": np.zeros(4)}, 1), ({"a": ["x"]}, 1), ({"a": []}, 1)]
)
def test_bad_arrays(arrays, size):
    with pytest.raises(ValueError, match="`arrays`"):
        Batches(arrays, size)


@pytest.mark.parametrize("size", [0, 4, 1.5])
def test_bad_batch_size(size):
    with pytest.raises(ValueError, match=f"`batch_size` must be an integer from 1 to 3. Received: batch_size={size}"):
        Batches({"a": np.zeros(3)}, size)


def test_random_flip():
    images = np.random.default_rng(0).random((64, 4, 4, 3))
    flipped = random_flip({"images": images, "row": 1}, np.random.default_rng(0))
    same = (flipped["images"] == images).all(axis=(1, 2, 3))
    mirrored = (flipped["images"] == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all() and 16 < same.sum() < 48 and flipped["row"] == 1
    with pytest.raises(ValueError, match="`batch`"):
        random_flip({}, np.random.default_rng(0))


def test_batches_are_quick(tmp_path):
    path = tmp_path / "latents.npy"
    np.save(path, np.zeros((2048, 16, 16, 8), "float32"))
    batches = Batches({"latents": np.load(path, mmap_mode="r")}, 256)
    times = []
    for index in list(range(len(batches))) * 4:
        start = time.perf_counter()
        batch = batches[index]
        times.append(time.perf_counter() - start)
    assert type(batch["latents"]) is np.ndarray
    assert min(times) < 2e-3  # 0.2 ms on a free core; the best of many, since a busy neighbour only adds


class Recorder(keras.Model):
    """Learns nothing and remembers the rows that it was given."""

    def __init__(self):
        super().__init__()
        self.scale = self.add_weight(shape=(), name="scale", initializer="ones")
        self.seen = []
        self.built = True

    def call(self, batch):
        return keras.ops.cast(batch["row"], "float32") * self.scale

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if self.run_eagerly:
            self.seen.append(keras.ops.convert_to_numpy(x["row"]).tolist())
        return keras.ops.mean(y_pred)


def fit_rows(batches, epochs, initial_epoch=0, callbacks=(), **kwargs):
    model = Recorder()
    model.compile("sgd", run_eagerly=True)
    model.fit(batches, epochs=epochs, initial_epoch=initial_epoch, verbose=0, callbacks=list(callbacks), **kwargs)
    return model.seen


def test_resumed_fit_sees_the_same_order():
    batches = Batches({"row": np.arange(64)}, 16)
    whole = fit_rows(batches, 3, callbacks=[batches.epoch_callback()], shuffle=False)[-12:]
    batches = Batches({"row": np.arange(64)}, 16)
    resumed = fit_rows(batches, 3, 2, callbacks=[batches.epoch_callback()], shuffle=False)[-4:]
    assert whole[8:] == resumed
    assert sorted(sum(whole[:4], [])) == list(range(64)) and whole[:4] != whole[4:8]


def test_fit_trains_on_dicts_of_arrays():
    model = Recorder()
    model.compile("sgd", jit_compile=False)
    batches = Batches({"row": np.arange(64)}, 16, workers=2)
    model.fit(batches, epochs=2, shuffle=False, verbose=0, callbacks=[batches.epoch_callback()])
    assert float(model.scale) < 1


def test_shuffling_by_fit_is_reported(recwarn):
    batches = Batches({"row": np.arange(256)}, 4)
    for shuffle in (False, True):
        recwarn.clear()
        fit_rows(batches, 1, callbacks=[batches.epoch_callback()], shuffle=shuffle)
        assert any("shuffle=False" in str(warning.message) for warning in recwarn) == shuffle


def test_works_without_pyarrow(tmp_path, monkeypatch):
    shard = write_shard(tmp_path / "a.parquet", shard_rows())
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pip install latentdiff\[train\]"):
        load_pictures(shard, 8)
    assert_is(load_pictures(write_folder(pathlib.Path(tmp_path) / "images"), 8), ["blue", "red", "green"])
