import io
import json
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from latentdiff.data.captioned_images import CaptionedImages, load_images
from latentdiff.data.images import crop, to_rgb
from latentdiff.settings.prompt_syntax import parse

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
    """Each image has the colour that its caption begins with, in the expected order."""
    assert [caption.split()[0] for caption in pictures.captions] == expected
    for image, name in zip(pictures.images, expected, strict=True):
        np.testing.assert_array_equal(image, np.broadcast_to(np.uint8(COLOURS[name]), image.shape))


# Sources


@pytest.mark.parametrize("captions, expected", [("txt", ["blue", "red", "green"]), ("jsonl", ["red", "green", "blue"])])
def test_folder_of_images(tmp_path, captions, expected):
    pictures = load_images(write_folder(tmp_path, captions), image_size=4)
    assert pictures.images.shape == (3, 4, 4, 3) and pictures.images.dtype == np.uint8
    assert_is(pictures, expected)
    assert pictures.captions[0] == f"{expected[0]} square"


def test_metadata_keeps_other_columns_and_splits(tmp_path):
    write_folder(tmp_path, captions=None)
    lines = [{"file_name": "red.png", "caption": "red", "style": "flat", "split": "validation"}]
    lines += ["", {"file_name": "sub/green.png", "caption": "green"}, {"file_name": "blue.png", "caption": "blue"}]
    write_lines(tmp_path, lines)
    held = load_images(tmp_path, 8, split="validation")
    assert_is(held, ["red"])
    assert held.records == [{"style": "flat", "split": "validation"}]
    assert_is(load_images(tmp_path, 8, split="train"), ["green", "blue"])


def test_parquet_from_file_glob_and_folder(tmp_path):
    rows = shard_rows(split=["train", "validation", "train"])
    rows[2]["caption"] = "blue"
    write_shard(tmp_path / "a.parquet", rows[:2])
    write_shard(tmp_path / "b.parquet", rows[2:])
    for source in (tmp_path, str(tmp_path / "*.parquet")):
        assert_is(load_images(source, 8), ["red", "green", "blue"])
        assert_is(load_images(source, 8, split="train"), ["red", "blue"])
        assert_is(load_images(source, 8, split="train", limit=1), ["red"])
    pictures = load_images(tmp_path / "a.parquet", 8, split="validation")
    assert pictures.records == [{"label": "GREEN", "split": "validation"}]


def test_parquet_with_image_struct(tmp_path):
    rows = shard_rows()
    for row in rows:
        row["image"] = {"bytes": row["image"], "path": "x.png"}
        row["text"] = row.pop("caption")
    write_shard(tmp_path / "a.parquet", rows)
    assert_is(load_images(tmp_path, 8), ["red", "green", "blue"])


# Errors


@pytest.mark.parametrize("argument", [{"image_size": 0}, {"image_size": 8.0}, {"image_size": 8, "limit": 0}])
def test_bad_numbers(tmp_path, argument):
    with pytest.raises(ValueError, match=f"`{list(argument)[-1]}` must be .*Received: {list(argument)[-1]}="):
        load_images(write_folder(tmp_path), **argument)


@pytest.mark.parametrize("source", ["nowhere", "no*.parquet", "empty"])
def test_source_without_pictures(tmp_path, source):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="`source` must .*Received: source=.*" + source.replace("*", r"\*")):
        load_images(tmp_path / source, 8)


def test_unknown_split_tells_the_splits(tmp_path):
    write_shard(tmp_path / "a.parquet", shard_rows(split=["train", "validation", "train"]))
    with pytest.raises(ValueError, match=r"`split` must be one of \['train', 'validation'\]. Received: split='test'"):
        load_images(tmp_path, 8, split="test")


def test_images_without_caption_are_counted_and_named(tmp_path):
    write_folder(tmp_path)
    for number in range(7):
        one_colour("red").save(tmp_path / f"{number}.png")
    with pytest.raises(ValueError, match=r"7 file\(s\): .*0\.png, .*4\.png and 2 more without a caption"):
        load_images(tmp_path, 8)


def test_caption_without_image(tmp_path):
    (write_folder(tmp_path) / "red.png").rename(tmp_path / "redd.png")
    with pytest.raises(ValueError, match=r"redd\.png without a caption; .*red\.txt without an image"):
        load_images(tmp_path, 8)


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
        load_images(tmp_path, 8)


def test_image_without_metadata_line(tmp_path):
    write_lines(write_folder(tmp_path, captions=None), [{"file_name": "blue.png", "text": "blue"}])
    with pytest.raises(ValueError, match=r"2 file\(s\): .*red\.png, .*green\.png without"):
        load_images(tmp_path, 8)


@pytest.mark.parametrize("damage", [b"", b"not an image", "half"])
def test_corrupt_image(tmp_path, damage):
    path = write_folder(tmp_path) / "red.png"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), "uint8"))
    path.write_bytes(encode(noise)[:6000] if damage == "half" else damage)
    with pytest.raises(ValueError, match=r"skip_corrupt=True.*red\.png"):
        load_images(tmp_path, 8)
    with pytest.warns(UserWarning, match=r"Left out 1 corrupt of 3 images: .*red\.png"):
        assert_is(load_images(tmp_path, 8, skip_corrupt=True), ["blue", "green"])


def test_all_corrupt(tmp_path):
    write_shard(tmp_path / "a.parquet", [{"image": b"x", "caption": "x"}])
    with pytest.raises(ValueError, match=r"a\.parquet, row 0"):
        load_images(tmp_path, 8, skip_corrupt=True)


def test_bad_parquet(tmp_path):
    write_shard(tmp_path / "a.parquet", [{"picture": b"x", "caption": "x"}])
    with pytest.raises(ValueError, match=r"columns `image` and `caption`.*a\.parquet with \['picture', 'caption'\]"):
        load_images(tmp_path, 8)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"readable parquet shards. Received: .*a\.parquet"):
        load_images(tmp_path, 8)


# Pixels


def test_transparent_becomes_white():
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.putpixel((0, 0), (255, 0, 0, 255))
    pixels = crop(to_rgb(image), (4, 4))
    assert pixels[0, 0].tolist() == [255, 0, 0] and (pixels[1:] == 255).all()
    palette = Image.new("P", (4, 4))
    palette.info["transparency"] = 0
    assert (crop(to_rgb(palette), (4, 4)) == 255).all()


@pytest.mark.parametrize("size", [(12, 4), (4, 12)])
def test_centre_crop(size):
    image = Image.new("RGB", size, COLOURS["red"])
    image.paste(one_colour("blue", (4, 4)), (4, 0) if size[0] > size[1] else (0, 4))
    assert (crop(to_rgb(image), (4, 4)) == COLOURS["blue"]).all()


def test_whole_factors_average_blocks():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), "uint8")
    means = pixels.reshape(4, 2, 4, 2, 3).mean(axis=(1, 3))
    assert np.abs(crop(Image.fromarray(pixels), (4, 4)) - means).max() <= 0.5
    assert crop(Image.fromarray(pixels), (3, 3)).shape == (3, 3, 3)


def test_exif_orientation(tmp_path):
    image = Image.new("RGB", (8, 8), COLOURS["blue"])
    image.paste(one_colour("red", (8, 4)), (0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the top goes to the right
    image.save(tmp_path / "a.png", exif=exif)
    (tmp_path / "a.txt").write_text("a")
    pixels = load_images(tmp_path, 8).images[0]
    assert (pixels[:, 4:] == COLOURS["red"]).all() and (pixels[:, :4] == COLOURS["blue"]).all()


def test_grey_images():
    assert (crop(to_rgb(Image.new("L", (4, 4), 7)), (4, 4)) == 7).all()
    deep = Image.fromarray(np.full((4, 4), 257 * 200, "uint16"))
    assert (crop(to_rgb(deep), (4, 4)) == 200).all()


# CaptionedImages


def test_select():
    images = np.arange(3, dtype="uint8").reshape(3, 1, 1, 1).repeat(3, axis=3)
    pictures = CaptionedImages(images, ["a", "b", "c"], [{"i": 0}, {"i": 1}, {"i": 2}])
    for rows in ([False, True, True], [1, 2], np.array([1, 2])):
        chosen = pictures.select(rows)
        assert len(chosen) == 2 and chosen.captions == ["b", "c"] and chosen.records == [{"i": 1}, {"i": 2}]
        assert chosen.images[:, 0, 0, 0].tolist() == [1, 2]
    assert len(pictures.select([])) == 0
    with pytest.raises(ValueError, match="`rows`"):
        pictures.select([True])


def test_captions_are_literal_text(tmp_path):
    """Whatever looks like prompt syntax in data is escaped where it is used as a prompt."""
    captions = ["wall clock (10:45)", "poster | ratio 2:1", r"a back\\slash", "(loud:1.5)"]
    for row, caption in enumerate(captions):
        one_colour("red").save(tmp_path / f"{row}.png")
        (tmp_path / f"{row}.txt").write_text(caption)
    images = load_images(tmp_path, 8)
    assert images.captions == captions
    for prompt, caption in zip(images.prompts, captions, strict=True):
        (part,) = parse(prompt)
        assert part.text == caption and not part.weighted


@pytest.mark.parametrize("size", [(4, 8), (8, 4)])
def test_images_need_not_be_square(tmp_path, size):
    write_folder(tmp_path)
    assert_is(load_images(tmp_path, size), ["blue", "red", "green"])
    assert load_images(tmp_path, size).images.shape == (3, *size, 3)


def test_one_image_is_a_source(tmp_path):
    assert_is(load_images(write_folder(tmp_path) / "red.png", 8), ["red"])
    (tmp_path / "red.txt").unlink()
    with pytest.raises(ValueError, match=r"red\.png without a caption"):
        load_images(tmp_path / "red.png", 8)


# === Text that is no text ===


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "`caption` .*must not be empty.*red.txt"),
        (b" \n", "`caption` .*must not be empty.*red.txt"),
        ("a red square".encode("utf-16-le"), "must be valid Unicode.*a.x00.*|red.txt"),
        (b"caf\xe9", "captions in UTF-8. Received: .*red.txt"),
    ],
)
def test_a_caption_file_without_text_is_named(tmp_path, data, message):
    (write_folder(tmp_path) / "red.txt").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        load_images(tmp_path, 8)


@pytest.mark.parametrize(
    "line, message",
    [
        (r'{"file_name": "red.png", "text": "a \ud83d cat"}', r"`text` in .*line 2 must be valid Unicode"),
        (r'{"file_name": "red.png", "text": "a\u0000 cat"}', r"`text` in .*line 2 must be valid Unicode"),
        (r'{"file_name": "red.png", "text": "x", "label": "\udce9"}', r"`label` in .*line 2 must be valid Unicode"),
        (
            r'{"file_name": "red.png", "text": "x", "keywords": ["\udce9"]}',
            "`keywords` in .*must be valid Unicode",
        ),
        (r'{"file_name": "red.png", "text": 3}', r"`caption` .*must be a string. Received: text=3 in .*line 2"),
        (r'{"file_name": "\ud83d.png", "text": "x"}', r"`file_name` must name a file.*line 2"),
        (r'{"file_name": "red.png", "text": "x", "split": ["train"]}', r"`split` must be a string.*line 2"),
        ('{"a":' * 5000 + "}" * 5000, "JSON object in each line.*line 2"),
    ],
)
def test_a_metadata_line_without_text_is_named(tmp_path, line, message):
    write_lines(write_folder(tmp_path, captions=None), [{"file_name": "blue.png", "text": "blue"}, line])
    with pytest.raises(ValueError, match=message):
        load_images(tmp_path, 8)


# === Links ===


@pytest.fixture
def linked(tmp_path):
    """A folder `data` with one image, and a folder `other` with three outside it."""
    write_folder(tmp_path / "other")
    (tmp_path / "data").mkdir()
    one_colour("red").save(tmp_path / "data" / "a.png")
    (tmp_path / "data" / "a.txt").write_text("red alone")
    return tmp_path / "data"


def link(path, target, is_folder=False):
    try:
        path.symlink_to(target, target_is_directory=is_folder)
    except OSError:
        pytest.skip("links need a right that this user lacks")


def test_a_linked_folder_is_followed_once(linked, tmp_path):
    link(linked / "more", tmp_path / "other", True)
    assert_is(load_images(linked, 8), ["red", "blue", "red", "green"])
    link(linked / "z", tmp_path / "other" / "sub", True)
    with pytest.warns(UserWarning, match="z is the same folder as .*more.sub: its files are read once"):
        assert len(load_images(linked, 8)) == 4


def test_links_in_a_circle_are_named(linked, tmp_path):
    link(linked / "loop", tmp_path, True)
    with pytest.raises(ValueError, match="no links that lead in a circle. Received: .*loop.data -> "):
        load_images(linked, 8)


@pytest.mark.parametrize("name", ["b.png", "a.txt", "folder"])
def test_links_that_lead_nowhere_are_named(linked, name):
    (linked / name).unlink(missing_ok=True)
    link(linked / name, "nowhere")
    with pytest.raises(ValueError, match=rf"no links that lead nowhere. Received: 1 file\(s\): .*{name}"):
        load_images(linked, 8)


def test_hidden_links_are_passed_over(linked):
    link(linked / ".b.png", "nowhere")
    assert len(load_images(linked, 8)) == 1


# === Damaged images ===


def broken_exif():
    buffer = io.BytesIO()
    one_colour("red").save(buffer, "PNG", exif=b"Exif\x00\x00" + b"garbage")
    return buffer.getvalue()


def bomb():
    """A PNG that claims 60,000 x 60,000 pixels."""
    data = bytearray(encode(one_colour("red")))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def truncated(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), "uint8"))
    return encode(noise, kind)[:3000]


DAMAGED = {
    "exif": broken_exif(),
    "bomb": bomb(),
    "empty": b"",
    "text": b"not an image",
    "float": encode(Image.fromarray(np.zeros((4, 4), "float32")), "TIFF"),
    **{kind: truncated(kind) for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP")},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_image_is_named_or_left_out(tmp_path, name):
    (write_folder(tmp_path) / "red.png").write_bytes(DAMAGED[name])
    with pytest.raises(ValueError, match=r"--skip-corrupt.*red\.png"):
        load_images(tmp_path, 8)
    with pytest.warns(UserWarning, match=r"Left out 1 corrupt of 3 images: .*red\.png"):
        assert_is(load_images(tmp_path, 8, skip_corrupt=True), ["blue", "green"])


def test_works_without_pyarrow(tmp_path, monkeypatch):
    shard = write_shard(tmp_path / "a.parquet", shard_rows())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pip install latentdiff\[train\]"):
        load_images(shard, 8)
    assert_is(load_images(write_folder(tmp_path / "images"), 8), ["blue", "red", "green"])
