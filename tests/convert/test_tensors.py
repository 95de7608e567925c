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
    with Tensors([tmp_path / "model.safetensors"]) as tensors:
        assert tensors.shape("a") == (3, 4)
        assert tensors["a"].dtype == "float32"
        np.testing.assert_array_equal(tensors["a"], values.astype("float32"))


def test_names_of_several_files(tmp_path):
    for name in "ab":
        save_file({name: np.ones(1, "float32"), f"skip.{name}": np.ones(1, "int64")}, tmp_path / name)
    rename = {"a": "x", "b": "y"}.get
    with Tensors([tmp_path / "a", tmp_path / "b"], rename) as tensors:
        assert sorted(tensors) == ["x", "y"]
    with pytest.raises(ValueError, match="b must hold each tensor once. Received: b a second time, as x"):
        Tensors([tmp_path / "a", tmp_path / "b"], {"a": "x", "b": "x"}.get)


@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_other_dtypes(tmp_path, dtype):
    save_file({"a": np.ones(2, dtype)}, tmp_path / "file")
    with Tensors([tmp_path / "file"]) as tensors, pytest.raises(ValueError, match="a in .*file must have a dtype of"):
        tensors["a"]
