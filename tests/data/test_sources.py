"""All kinds of sources: the same rows in any order, in other processes too, and errors that name what is wrong."""

import gzip
import io
import json
import pickle
import tarfile

import numpy as np
import pytest
from sources_of_all_kinds import KINDS, encode, records_of, some_images, write_members, write_tfds

from latentdiff.data import mapped, parquet, tar_shards
from latentdiff.data.captioned_images import load_images
from latentdiff.data.packed_texts import PackedTexts
from latentdiff.data.rows import Source, Subset, shuffled
from latentdiff.data.sources import open_source

IMAGES = some_images(9)
PNG = encode(IMAGES[0])


@pytest.fixture(params=KINDS)
def source(request, tmp_path):
    """The nine images as each kind of source."""
    return str(KINDS[request.param](tmp_path, records_of(IMAGES)))


def test_rows_come_in_any_order_and_from_a_pickled_source(source):
    rows = pickle.loads(pickle.dumps(open_source(source)))
    assert len(rows) == 9
    by_caption = {rows[index].caption: rows[index] for index in (7, 0, 3, 8, 1, 2, 6, 5, 4)}
    assert sorted(by_caption) == [f"image {row}" for row in range(9)]
    assert sorted(rows.splits()) == ["train"] * 6 + ["validation"] * 3
    for caption, row in by_caption.items():
        assert row.record["split"] == ("validation" if int(caption[-1]) % 3 == 2 else "train")
    with pytest.raises(IndexError):
        rows[9]


def test_images_are_those_that_were_written(source):
    pictures = load_images(source, 8)
    places = [int(caption[-1]) for caption in pictures.captions]
    assert places == list(range(9)) or source.startswith("tfds:") and sorted(places) == list(range(9))
    np.testing.assert_array_equal(pictures.images, IMAGES[places])
    held = load_images(source, 8, split="validation")
    assert held.captions == ["image 2", "image 5", "image 8"]
    np.testing.assert_array_equal(held.images, IMAGES[2::3])
    assert load_images(source, 8, split="validation", limit=2).captions == held.captions[:2]
    with pytest.raises(ValueError, match="`split` must be one of .*'train', 'validation'"):
        load_images(source, 8, split="test")


def test_tfds_without_random_access_is_read_into_memory(tmp_path, monkeypatch):
    source = write_tfds(tmp_path, records_of(IMAGES), "tfrecord")
    assert load_images(source, 8, split="validation").captions == ["image 2", "image 5", "image 8"]
    monkeypatch.setattr("latentdiff.data.tfds.total_memory", lambda: 100)
    with pytest.raises(ValueError, match="fit into memory: prepare the dataset with `file_format='array_record'`"):
        open_source(source)


# === Order ===


class Blocks(Source):
    """A hundred rows in ten blocks."""

    blocks, blocks_at_once = np.repeat(np.arange(10), 10), 2

    def __len__(self):
        return 100


def test_few_blocks_are_read_at_a_time():
    order = shuffled(np.random.default_rng(0), Blocks())
    assert sorted(order) == list(range(100))
    windows = [set(order[start : start + 20] // 10) for start in range(0, 100, 20)]
    assert all(len(window) == 2 for window in windows) and set.union(*windows) == set(range(10))
    assert len(set(order[:10] // 10)) == 2, "the rows of two blocks are mixed"
    assert (shuffled(np.random.default_rng(1), Blocks()) != order).any()
    some = Subset(Blocks(), [5, 7, 50, 51, 52, 99])
    assert some.blocks.tolist() == [0, 0, 1, 1, 1, 2] and sorted(shuffled(np.random.default_rng(0), some)) == [
        *range(6)
    ]


def test_what_fits_is_a_permutation():
    rows = Subset(Blocks(), range(20))
    np.testing.assert_array_equal(shuffled(np.random.default_rng(3), rows), np.random.default_rng(3).permutation(20))


def test_few_row_groups_stay_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "BYTES_AT_ONCE", 1)
    rows = open_source(str(KINDS["parquet"](tmp_path, records_of(IMAGES))))
    assert rows.blocks_at_once == 1 and rows.blocks.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert [rows[int(row)].caption for row in shuffled(np.random.default_rng(0), rows)] != [r.caption for r in rows]
    assert len(rows._tables) == 2


@pytest.mark.parametrize("smallest", [0, 2**20])
def test_packed_texts(smallest, monkeypatch):
    monkeypatch.setattr(mapped, "SMALLEST", smallest)
    texts = ["", "a", "grün", "a\udce9", "日本"]
    first = PackedTexts(texts)
    packed = pickle.loads(pickle.dumps(first))
    assert list(packed) == texts and packed[-1] == "日本" and len(packed) == 5
    with pytest.raises(IndexError, match="`index` must be below 5"):
        packed[5]


def test_large_arrays_are_shared_through_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "SMALLEST", 8)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    values = mapped.mapped(range(100), "int64")
    assert len(pickle.dumps(values)) < 200
    other = pickle.loads(pickle.dumps(values))
    assert len(other) == 100 and other[7] == 7 and isinstance(other.values, np.memmap)
    np.testing.assert_array_equal(other, np.arange(100))
    del other
    assert len(list(tmp_path.iterdir())) == 1
    del values
    assert not list(tmp_path.iterdir())


# === Malformed tar shards ===


@pytest.mark.parametrize(
    "members, message",
    [
        ([("a.png", PNG)], "a.tar with a without a caption"),
        ([("a.txt", b"a")] * 1, "a.tar with a without an image"),
        ([("a.png", PNG), ("b.txt", b"b"), ("b.png", PNG)], "a.tar with a without a caption"),
        ([("a.png", PNG), ("a.jpg", PNG), ("a.txt", b"a")], "one image file of each name. Received: .*two of a"),
        ([("a.png", PNG), ("a.json", b"{")], "a JSON object for each image. Received: b'{' in .*a.tar, a"),
        ([("a.png", PNG), ("a.json", b"[1]")], r"a JSON object for each image. Received: b'\[1\]'"),
        ([("a.png", PNG), ("a.json", b"{}")], "`caption` .*must be a string. Received: text=None in .*a.tar, a"),
        ([("a.png", PNG), ("a.txt", b" ")], "`caption` .*must not be empty.*a.tar, a"),
        ([("a.png", PNG), ("a.txt", b"\xff")], "`caption` in .*a.tar, a must be valid"),
        ([("a.png", b"x"), ("a.txt", b"a")], "readable images.*a.tar, a is no image"),
        ([], "at least one captioned image"),
    ],
)
def test_a_malformed_tar_is_named(tmp_path, members, message):
    write_members(tmp_path / "a.tar", members)
    with pytest.raises(ValueError, match=message):
        load_images(tmp_path, 8)


def test_a_tar_that_is_cut_off_or_compressed_is_named(tmp_path):
    path = write_members(tmp_path / "a.tar", [("a.txt", b"a"), ("a.png", PNG)])
    whole = path.read_bytes()
    for data in (
        whole[:1600],
        whole[:1100],
        gzip.compress(whole),
        b"no tar" * 200,
        b"",
        whole[:130] + b"7" + whole[131:],
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="readable, uncompressed tar shards. Received: .*a.tar"):
            load_images(path, 8)


def test_members_of_a_tar_belong_together_by_name(tmp_path):
    members = [("x/a.b.png", PNG), ("x/a.cls", b"3"), ("x/a.txt", b"first"), ("y/a.txt", b"second"), ("y/a.PNG", PNG)]
    members += [("./z.jpg", PNG), ("./z.json", json.dumps({"text": "third", "label": 3}).encode())]
    write_members(tmp_path / "a.tar", members)
    pictures = load_images(tmp_path / "a.tar", 8)
    assert pictures.captions == ["first", "second", "third"] and pictures.records[2] == {"label": 3}


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("folder", ["", "sub/", "n" * 90 + "/", "m" * 90 + "/" + "n" * 90 + "/", "日本/"])
def test_members_are_those_of_tarfile(tmp_path, kind, folder):
    with tarfile.open(tmp_path / "a.tar", "w", format=kind) as tar:
        tar.addfile(tarfile.TarInfo("folder/"), None)
        for name, size in (("a.png", 0), ("a.txt", 512), ("b.json", 513)):
            member = tarfile.TarInfo(folder + name)
            member.size = size
            tar.addfile(member, io.BytesIO(bytes(size)))
        link = tarfile.TarInfo("link")
        link.type = tarfile.SYMTYPE
        tar.addfile(link)
    with tarfile.open(tmp_path / "a.tar") as tar:
        expected = [(member.name, member.offset_data, member.size) for member in tar if member.isfile()]
    assert list(tar_shards._members(tmp_path / "a.tar")) == expected and len(expected) >= 3


# === Malformed ArrayRecord shards ===


@pytest.mark.parametrize(
    "record, message",
    [
        ({"caption": "a"}, "`image` must hold bytes. Received: 0 values in .*record 0"),
        ({"image": PNG}, "`caption` .*must be a string.*record 0"),
        ({"image": PNG, "caption": b"\xff"}, "`caption` in .*record 0 must be valid"),
        ({"image": b"x", "caption": "a"}, "readable images.*record 0 is no image"),
    ],
)
def test_a_malformed_array_record_is_named(tmp_path, record, message):
    KINDS["array_record"](tmp_path, [record])
    with pytest.raises(ValueError, match=message):
        load_images(tmp_path, 8)


def test_an_array_record_of_something_else_is_named(tmp_path):
    module = pytest.importorskip("array_record.python.array_record_module")
    writer = module.ArrayRecordWriter(str(tmp_path / "a.array_record"), "group_size:1")
    writer.write(b"\xff\xff no example")
    writer.close()
    with pytest.raises(ValueError, match="tf.train.Example records. Received: .*record 0"):
        load_images(tmp_path, 8)
    (tmp_path / "a.array_record").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="readable ArrayRecord shards"):
        load_images(tmp_path, 8)


def test_a_folder_of_two_kinds_is_refused(tmp_path):
    KINDS["tar"](tmp_path, records_of(IMAGES))
    KINDS["parquet"](tmp_path, records_of(IMAGES))
    with pytest.raises(ValueError, match="shards of one kind .* which has parquet and tar"):
        open_source(str(tmp_path))
    with pytest.raises(ValueError, match="shards of one kind"):
        open_source(str(tmp_path / "0.*"))
