import io
import json
import sys

import numpy as np
import pytest
from PIL import Image
from sources_of_all_kinds import import_tfds, store_tfds

from latentdiff.data.captioned_images import load_images
from training.datasets import build_emoji, emoji_packages

FIVE = {"label": "five o’clock", "hexcode": "1F554", "emoji": "🕔", "group": 5, "subgroup": 58, "tags": ["time"]}
HEART = {"label": "Red Heart", "hexcode": "2764-FE0F", "emoji": "❤️", "group": 0, "subgroup": 14}
FLAG = {"label": "flag: Chad", "hexcode": "1F1F9-1F1E9", "emoji": "🇹🇩", "group": 9, "subgroup": 98}
SKIN = {"label": "dark skin tone", "hexcode": "1F3FF", "emoji": "🏿", "group": 2, "subgroup": 32}


def webp(colour, size=256):
    buffer = io.BytesIO()
    Image.new("RGBA", (size, size), colour).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


@pytest.fixture
def work(tmp_path):
    """A work folder in which the packages have been fetched."""

    def write(package, files):
        for name, content in files.items():
            path = tmp_path / "work" / package / "package" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())

    groups = {"0": "smileys-emotion", "5": "travel-places", "9": "flags", "2": "component"}
    base = {"en/data.json": [FIVE, HEART, FLAG, SKIN], "meta/groups.json": {"groups": groups}}
    write("emojibase-data-17-0-0", base | {"en/shortcodes/github.json": {"2764-FE0F": ["heart", "love"]}})
    write("emojilib-4-0-3", {"dist/emoji-en-US.json": {"❤": ["red_heart", "like_it"], "🕔": ["time"]}})
    assets = {"1f554.webp": webp((0, 0, 255, 255)), "2764-fe0f.webp": webp((255, 0, 0, 0))}
    assets |= {"1f1f9-1f1e9.webp": webp("red"), "1f3ff.webp": webp("red")}
    write("lobehub-fluent-emoji-3d-1-1-0", {f"assets/{name}": data for name, data in assets.items()})
    left_half = {"body": '<path fill="#f00" d="M0 0h8v16H0z"/>'}
    icons = {"width": 16, "height": 16, "icons": {"love": left_half, "unknown": left_half}}
    icons["aliases"] = {"five-oclock": {"parent": "love", "hFlip": True}}
    write("iconify-json-fxemoji-1-2-2", {"icons.json": icons, "chars.json": {}})
    icons = {"width": 16, "height": 16, "icons": {"x": left_half | {"width": 8}}}
    write("iconify-json-twemoji-1-2-5", {"icons.json": icons, "chars.json": {"2764-fe0f": "x"}})
    return tmp_path / "work"


def test_emoji_have_labels_groups_and_keywords(work):
    emoji, names = emoji_packages.read_emoji(work)
    assert sorted(emoji) == ["1f554", "2764"]  # neither flags nor skin tones
    heart = {"emoji": "❤️", "label": "red heart", "keywords": ["like it"], "group": "smileys-emotion"}
    assert emoji["2764"] == heart
    assert emoji["1f554"]["keywords"] == ["time"]
    assert names["redheart"] == names["love"] == names["heavyblackheart"] == "2764"  # label, shortcode, Unicode name


def test_vector_drawings(work):
    pytest.importorskip("resvg_py")
    _, names = emoji_packages.read_emoji(work)
    drawn = emoji_packages.drawings("fx", names, work, 16)
    heart, five = (np.asarray(Image.open(io.BytesIO(drawn[key]())).convert("RGBA")) for key in ("2764", "1f554"))
    assert heart.shape == (16, 16, 4) and heart[0, 0].tolist() == [255, 0, 0, 255] and heart[0, 15, 3] == 0
    np.testing.assert_array_equal(five, heart[:, ::-1])
    narrow = np.asarray(Image.open(io.BytesIO(emoji_packages.drawings("twemoji", names, work, 16)["2764"]())))
    assert (narrow[..., 3].any(axis=0) == [4 <= x < 12 for x in range(16)]).all()  # centred on a square


def test_svg_of_aliases_keeps_the_parent_body():
    icons = {"width": 4, "height": 4, "icons": {"a": {"body": "<path/>"}}, "aliases": {"b": {"parent": "a"}}}
    assert emoji_packages.svg(icons, "b", 8) == emoji_packages.svg(icons, "a", 8)
    assert 'viewBox="0 0 4 4"' in emoji_packages.svg(icons, "a", 8)


def test_build_writes_shards_that_load(work, monkeypatch, capsys):
    pytest.importorskip("pyarrow")
    output = work.parent / "emoji"
    arguments = ["build_emoji", "--output", output, "--work", work, "--styles", "3d", "--shards", "3"]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
    build_emoji.main()
    assert capsys.readouterr().out.count(": 1 images") == len(list(output.glob("*-of-00002.parquet"))) == 2
    pictures = load_images(output, 128)
    assert sorted(pictures.captions) == ["five o’clock, 3d", "red heart, 3d"]
    five = pictures.captions.index("five o’clock, 3d")
    assert (pictures.images[five] == [0, 0, 255]).all() and (pictures.images[1 - five] == 255).all()
    record = pictures.records[five]
    assert record.pop("keywords") == ["time"]
    expected = {"id": "1f554", "emoji": "🕔", "label": "five o’clock", "group": "travel-places", "style": "3d"}
    expected |= {"licence": "MIT", "source": "@lobehub/fluent-emoji-3d 1.1.0", "split": "train"}
    assert record == expected
    with pytest.raises(SystemExit):
        build_emoji.main()
    assert "without parquet files" in capsys.readouterr().err


def test_build_refuses_styles_without_pictures(work, monkeypatch, capsys):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(build_emoji, "drawings", lambda *arguments: {})
    monkeypatch.setattr(sys, "argv", ["build_emoji", "--output", str(work / "out"), "--work", str(work)])
    with pytest.raises(SystemExit):
        build_emoji.main()
    assert "--styles must have an image" in capsys.readouterr().err
    assert not list((work / "out").glob("*.parquet"))


@pytest.mark.parametrize("argument", ["--limit", "--shards"])
def test_build_refuses_zero(tmp_path, monkeypatch, capsys, argument):
    monkeypatch.setattr(sys, "argv", ["build_emoji", "--output", str(tmp_path), argument, "0"])
    with pytest.raises(SystemExit):
        build_emoji.main()
    assert "--limit and --shards must be positive" in capsys.readouterr().err


def test_at_most_one_style_of_an_emoji_is_held_out():
    styles = ["noto", "3d", "flat"]
    draws = [build_emoji.held_out(str(key), styles, seed=0) for key in range(2000)]
    assert draws == [build_emoji.held_out(str(key), styles, seed=0) for key in range(2000)]
    assert draws != [build_emoji.held_out(str(key), styles, seed=1) for key in range(2000)]
    assert 30 < sum(draw is not None for draw in draws) < 100
    assert {*styles, None} == set(draws)
    assert not any(build_emoji.held_out(str(key), ["noto"], seed=0) for key in range(200))


# TensorFlow Datasets


def write_folder(folder):
    folder.mkdir()
    colours = {"red": (255, 0, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
    lines = []
    for name, colour in colours.items():
        Image.new("RGB", (8, 6), colour).save(folder / f"{name}.png")
        split = "validation" if name == "blue" else "train"
        lines.append({"file_name": f"{name}.png", "caption": name, "style": "flat", "split": split})
    lines[0]["keywords"] = ["hot", "warm"]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return colours


def test_captioned_pictures_are_built_and_read(tmp_path):
    tfds = import_tfds()
    from training.datasets.captioned_pictures import CaptionedPictures

    colours = write_folder(tmp_path / "pictures")
    assert tfds.builder_cls("captioned_pictures") is CaptionedPictures
    builder = CaptionedPictures(data_dir=tmp_path / "tfds")
    config = tfds.download.DownloadConfig(manual_dir=tmp_path / "pictures")
    builder.download_and_prepare(download_config=config)
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train": 2, "validation": 1}

    source = f"tfds:captioned_pictures?data_dir={tmp_path / 'tfds'}"
    pictures = load_images(source, 6)
    assert sorted(pictures.captions) == sorted(colours)
    for image, caption, record in zip(pictures.images, pictures.captions, pictures.records, strict=True):
        assert image.shape == (6, 6, 3) and (image == colours[caption]).all()
        assert record["split"] == ("validation" if caption == "blue" else "train")
        assert record["keywords"] == (["hot", "warm"] if caption == "red" else [])
        assert record["style"] == "flat" and record["label"] == ""
    assert load_images(source, 6, split="validation").captions == ["blue"]
    assert len(load_images(source, 6, split="train[:1]")) == 1
    assert load_images(source + "&caption=style", 6, limit=1).captions == ["flat"]
    with pytest.raises(ValueError, match=r"`split` must be one of \['train', 'validation'\].*split='test'"):
        load_images(source, 6, split="test")
    with pytest.raises(ValueError, match="`source` may have the options"):
        load_images(source + "&feature=style", 6)
    with pytest.raises(ValueError, match="text or label feature"):
        load_images(source + "&caption=image", 6)
    with pytest.raises(ValueError, match="uint8 image feature"):
        load_images(source + "&image=caption", 6)


def test_label_names_become_captions(tmp_path):
    tfds = import_tfds()
    features = {
        "image": tfds.features.Image(shape=(4, 4, 1)),
        "name": tfds.features.Text(),
        "label": tfds.features.ClassLabel(names=["sea_lion", "cat"]),
        "area": tfds.features.Scalar(np.float32),
        "mask": tfds.features.Tensor(shape=(4, 4), dtype=np.uint8),
    }
    example = {"name": "x", "area": 0.5, "mask": np.zeros((4, 4), "uint8"), "image": np.full((4, 4, 1), 9, "uint8")}
    splits = {"train": [("0", example | {"label": 0})], "test": [("0", example | {"label": -1})]}
    store_tfds(tmp_path, "animals", features, splits)
    pictures = load_images(f"tfds:animals?data_dir={tmp_path}", 4, split="train")
    assert pictures.captions == ["sea lion"] and (pictures.images == 9).all()
    assert pictures.records == [{"split": "train", "name": "x", "label": "sea_lion", "area": 0.5}]
    with pytest.raises(ValueError, match="`caption` must be known.*no 'label' in animals test, example 0"):
        load_images(f"tfds:animals?data_dir={tmp_path}", 4, split="test")


def test_unknown_dataset(tmp_path):
    import_tfds()
    with pytest.raises(ValueError, match="TensorFlow Datasets dataset. Received: source='tfds:no_such_set"):
        load_images(f"tfds:no_such_set?data_dir={tmp_path}", 4)


def test_tfds_without_tensorflow_datasets(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ValueError, match="pip install tensorflow tensorflow-datasets"):
        load_images("tfds:mnist", 4)
