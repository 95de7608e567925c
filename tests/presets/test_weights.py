import json

import keras
import numpy as np
import pytest
from harness import normal

from latentdiff.presets import weights as preset_weights


def make_model(seed=0):
    """Two dense layers; weights from tiny to large, so that half precision is put to the test."""
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(50), keras.layers.Dense(3)])
    for index, variable in enumerate(model.weights):
        variable.assign(normal(seed + index, *variable.shape) * np.logspace(-3, 3, variable.shape[-1]).astype("f"))
    return model


def saved(folder, **settings):
    preset_weights.save(make_model(), folder, **settings)
    return sorted(path.name for path in folder.iterdir())


# === Contract ===


def test_one_file(tmp_path):
    assert saved(tmp_path) == ["model.weights.h5"]
    model = make_model(seed=9)
    preset_weights.load(model, tmp_path)
    for value, expected in zip(model.get_weights(), make_model().get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_pieces(tmp_path):
    names = saved(tmp_path, max_shard_bytes=5000)
    sizes = [(tmp_path / name).stat().st_size for name in names if name.startswith("model.weights.h5.")]
    assert len(sizes) > 2 and set(sizes[:-1]) == {5000} and 0 < sizes[-1] <= 5000
    assert len(names) == len(sizes) + 1  # the pieces and their list, and no temporary folder
    model = make_model(seed=9)
    preset_weights.load(model, tmp_path)
    np.testing.assert_array_equal(model.get_weights()[0], make_model().get_weights()[0])


def test_pieces_joined_are_a_keras_weight_file(tmp_path):
    names = saved(tmp_path, max_shard_bytes=5000)
    whole = b"".join((tmp_path / name).read_bytes() for name in names if name.startswith("model.weights.h5."))
    (tmp_path / "whole.weights.h5").write_bytes(whole)
    model = make_model(seed=9)
    model.load_weights(tmp_path / "whole.weights.h5")
    np.testing.assert_array_equal(model.get_weights()[0], make_model().get_weights()[0])


@pytest.mark.parametrize("first, second", [({"max_shard_bytes": 3000}, {}), ({}, {"max_shard_bytes": 3000})])
def test_saving_again_leaves_nothing_of_the_old(tmp_path, first, second):
    saved(tmp_path, **first)
    names = saved(tmp_path, **second)
    assert ("model.weights.h5" in names) != ("model.weights.json" in names)
    fewer = saved(tmp_path, max_shard_bytes=10_000)
    assert len(fewer) < len(saved(tmp_path, max_shard_bytes=3000))
    assert saved(tmp_path, max_shard_bytes=10_000) == fewer


@pytest.mark.parametrize("size", [0, -5])
def test_piece_size_must_be_positive(tmp_path, size):
    with pytest.raises(ValueError, match=f"`max_shard_bytes`.*{size}"):
        saved(tmp_path, max_shard_bytes=size)


# === Laws ===


def test_float16_rounds_by_at_most_half_a_unit_in_the_last_place(tmp_path):
    saved(tmp_path, float16=True)
    model = make_model(seed=9)
    preset_weights.load(model, tmp_path)
    for variable, expected in zip(model.weights, make_model().get_weights(), strict=True):
        assert variable.dtype == "float32"
        error = np.abs(np.array(variable.value) - expected)
        assert (error <= np.maximum(np.abs(expected) * 2.0**-11, 2.0**-25)).all()  # the latter below 6e-5
    assert error.max() > 0


def test_float16_halves_the_file(tmp_path):
    model = keras.Sequential([keras.Input((300,)), keras.layers.Dense(300)])
    sizes = []
    for float16 in (False, True):
        preset_weights.save(model, tmp_path, float16=float16)
        sizes.append((tmp_path / "model.weights.h5").stat().st_size)
    assert sizes[1] < 0.55 * sizes[0]


# === Errors ===


def damage(path, kind):
    data = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(data[:-1])
    else:
        path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])


@pytest.mark.parametrize("kind, word", [("missing", "missing"), ("truncated", "bytes"), ("changed", "checksum")])
@pytest.mark.parametrize("index", [0, 2])
def test_damaged_piece_is_named(tmp_path, kind, word, index):
    saved(tmp_path, max_shard_bytes=5000)
    damage(tmp_path / f"model.weights.h5.00{index}", kind)
    with pytest.raises(ValueError, match=rf"model\.weights\.h5\.00{index}.*{word}"):
        preset_weights.load(make_model(), tmp_path)


def test_missing_whole_file(tmp_path):
    saved(tmp_path)
    damage(tmp_path / "model.weights.h5", "missing")
    with pytest.raises(ValueError, match="incomplete.*model.weights.h5"):
        preset_weights.load(make_model(), tmp_path)


@pytest.mark.parametrize("length", [100, -1000])
def test_truncated_whole_file(tmp_path, length):
    saved(tmp_path)
    path = tmp_path / "model.weights.h5"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"damaged.*model\.weights\.h5"):
        preset_weights.load(make_model(), tmp_path)


def test_damaged_list_of_pieces(tmp_path):
    saved(tmp_path, max_shard_bytes=5000)
    path = tmp_path / "model.weights.json"
    path.write_text(path.read_text()[:-10])
    with pytest.raises(ValueError, match=r"model\.weights\.json"):
        preset_weights.load(make_model(), tmp_path)


def test_weights_of_another_model_are_refused(tmp_path):
    saved(tmp_path)
    other = keras.Sequential([keras.Input((6,)), keras.layers.Dense(40), keras.layers.Dense(3)])
    with pytest.raises(ValueError):
        preset_weights.load(other, tmp_path)


def test_piece_list_names_its_pieces(tmp_path):
    names = saved(tmp_path, max_shard_bytes=5000)
    listed = json.loads((tmp_path / "model.weights.json").read_text())["pieces"]
    assert [piece["file"] for piece in listed] == [name for name in names if name != "model.weights.json"]
    assert [piece["bytes"] for piece in listed] == [(tmp_path / piece["file"]).stat().st_size for piece in listed]


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside", "model.weights.h5.001", "model.weights.h5.000/../x", 7])
def test_a_piece_of_another_name_is_refused(tmp_path, name):
    piece = {"file": name, "bytes": 1, "sha256": ""}
    (tmp_path / "model.weights.json").write_text(json.dumps({"pieces": [piece]}))
    with pytest.raises(ValueError, match="is no list of pieces .other names"):
        preset_weights.load(None, tmp_path)


def test_a_full_disk_is_found_before_anything_is_written(tmp_path, monkeypatch):
    """HDF5 would end the process."""
    usage = preset_weights.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(preset_weights.shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(OSError, match="No space left on device"):
        preset_weights.save(make_model(), tmp_path)
    assert not list(tmp_path.iterdir())
