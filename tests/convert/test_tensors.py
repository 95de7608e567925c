import json
import resource
import struct
import time

import numpy as np
import pytest
from convert.tiny_folders import DTYPES, write_weights
from harness import normal
from safetensors.numpy import save_file

from latentdiff.convert.tensors import Tensors


@pytest.mark.parametrize("dtype", [*DTYPES])
def test_any_float_becomes_float32(tmp_path, dtype):
    values = normal(0, 3, 4).astype(DTYPES[dtype])
    write_weights(tmp_path, "model", {"a": values}, dtype)
    tensors = Tensors([tmp_path / "model.safetensors"])
    assert tensors.shape("a") == (3, 4)
    assert tensors["a"].dtype == "float32"
    np.testing.assert_array_equal(tensors["a"], values.astype("float32"))


def test_names_of_several_files(tmp_path):
    for name in "ab":
        save_file({name: np.ones(1, "float32"), f"skip.{name}": np.ones(1, "int64")}, tmp_path / name)
    rename = {"a": "x", "b": "y"}.get
    assert sorted(Tensors([tmp_path / "a", tmp_path / "b"], rename)) == ["x", "y"]
    with pytest.raises(ValueError, match="b must hold each tensor once. Received: b a second time, as x"):
        Tensors([tmp_path / "a", tmp_path / "b"], {"a": "x", "b": "x"}.get)


@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_other_dtypes(tmp_path, dtype):
    save_file({"a": np.ones(2, dtype)}, tmp_path / "file")
    with pytest.raises(ValueError, match="a in .*file must have a dtype of"):
        Tensors([tmp_path / "file"])["a"]


def test_parts_of_one_tensor(tmp_path):
    values = normal(0, 6, 2)
    save_file({"in": values}, tmp_path / "file")
    tensors = Tensors([tmp_path / "file"], lambda name: ("q", "k", "v"))
    assert [tensors.shape(name) for name in "qkv"] == [(2, 2)] * 3
    for index, name in enumerate("qkv"):
        np.testing.assert_array_equal(tensors[name], values[2 * index : 2 * index + 2])


def header(values, data=b""):
    text = values if isinstance(values, bytes) else json.dumps(values).encode()
    return struct.pack("<Q", len(text)) + text + data


ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HOSTILE = {
    "empty": b"",
    "not one": b"PK\x03\x04" + bytes(100),
    "truncated": header({"a": ONE}, bytes(4)),
    "too long": header({"a": ONE}, bytes(12)),
    "truncated header": header({"a": ONE})[:20],
    "huge header": struct.pack("<Q", 10_000_000_000) + b"{",
    "shape of another size": header({"a": {**ONE, "shape": [2_000_000_000, 2_000_000_000]}}, bytes(8)),
    "size that overflows": header({"a": {**ONE, "shape": [2**63, 2]}}, bytes(8)),
    "negative shape": header({"a": {**ONE, "shape": [-2]}}, bytes(8)),
    "unknown dtype": header({"a": {**ONE, "dtype": "PICKLE"}}, bytes(8)),
    "offsets behind the end": header({"a": {**ONE, "data_offsets": [8, 16]}}, bytes(8)),
    "offsets reversed": header({"a": {**ONE, "data_offsets": [8, 0]}}, bytes(8)),
    "overlapping tensors": header({"a": ONE, "b": {**ONE, "data_offsets": [4, 12]}}, bytes(12)),
    "duplicate names": header(b'{"a":%b,"a":%b}' % ((json.dumps(ONE).encode(),) * 2), bytes(8)),
    "duplicate names with holes": header(
        b'{"a":%b,"a":%b}' % (json.dumps(ONE).encode(), json.dumps({**ONE, "data_offsets": [8, 16]}).encode()),
        bytes(16),
    ),
    "no JSON": header(b"{", bytes(8)),
    "deep JSON": header(b"[" * 100_000, b""),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_at_once(tmp_path, kind):
    path = tmp_path / "model.safetensors"
    path.write_bytes(HOSTILE[kind])
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="model.safetensors (can't be read as a .safetensors file: .|must hold each)"):
        Tensors([path])
    assert time.monotonic() - start < 1.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
