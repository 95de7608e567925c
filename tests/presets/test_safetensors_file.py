import json
import struct

import h5py
import ml_dtypes
import numpy as np
import pytest
from harness import normal
from presets.test_weights import make_model, saved
from safetensors.numpy import load_file

from latentdiff.presets import safetensors_file, weights

DTYPES = ["float32", "float16", ml_dtypes.bfloat16, "int8", "uint32"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_there_and_back(tmp_path, dtype):
    array = (100 * normal(0, 3, 4)).astype("int8").astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("layers/empty/vars")
        entry = file.create_dataset("layers/dense/vars/0", data=array)
        if dtype is ml_dtypes.bfloat16:
            entry.attrs["dtype"] = "bfloat16"  # as Keras writes it
    safetensors_file.from_hdf5(tmp_path / "a.h5", tmp_path / "a.safetensors")
    loaded = load_file(tmp_path / "a.safetensors")["layers/dense/vars/0"]
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype == array.dtype
    safetensors_file.to_hdf5(tmp_path / "a.safetensors", tmp_path / "b.h5")
    with h5py.File(tmp_path / "a.h5") as before, h5py.File(tmp_path / "b.h5") as after:
        first, second = before["layers/dense/vars/0"], after["layers/dense/vars/0"]
        assert first.dtype == second.dtype and dict(first.attrs) == dict(second.attrs)
        assert first[()].tobytes() == second[()].tobytes()


def test_keras_loads_it(tmp_path):
    saved(tmp_path / "h5", max_shard_bytes=5000)
    (tmp_path / "hub").mkdir()
    weights.write_safetensors(tmp_path / "h5", tmp_path / "hub")
    assert sorted(path.name for path in (tmp_path / "hub").iterdir()) == ["model.safetensors", "model.weights.json"]
    model = make_model(seed=9)
    weights.load(model, tmp_path / "hub")
    for value, expected in zip(model.get_weights(), make_model().get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)
    assert saved(tmp_path / "hub") == ["model.weights.h5"]  # saved over it, nothing of it is left


def named(*names, dtype="F32"):
    """The bytes of a file with arrays of one number of four bytes."""
    entries = enumerate(names)
    told = {name: {"dtype": dtype, "shape": [1], "data_offsets": [4 * i, 4 * i + 4]} for i, name in entries}
    head = json.dumps(told).encode()
    return struct.pack("<Q", len(head)) + head + bytes(4 * len(names))


CONTENTS = {
    "empty": b"",
    "pickle": b"\x80\x04." + bytes(range(100)),
    "no name": named(""),
    "an array in an array": named("a", "a/b"),
    "an unknown dtype": named("a", dtype="F8_E4M3").replace(b"[1]", b"[4]"),
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_what_is_no_safetensors_file(tmp_path, content):
    saved(tmp_path / "h5")
    (tmp_path / "hub").mkdir()
    weights.write_safetensors(tmp_path / "h5", tmp_path / "hub")
    path = tmp_path / "hub" / weights.SAFETENSORS_FILE
    path.write_bytes(content)
    weights._write_list(tmp_path / "hub", path.name, [weights._entry(path)])
    with pytest.raises(ValueError, match="preset is damaged.*model.safetensors can't be read"):
        weights.load(make_model(), tmp_path / "hub")
