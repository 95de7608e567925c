import keras
import numpy as np
import pytest
from harness import arrays, normal

from latentdiff.models.npz_weights import fill_model, read_arrays


def make_model():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="block0_dense")])


def test_read_and_fill(tmp_path):
    path, model = tmp_path / "weights.npz", make_model()
    values = {"block0/dense/kernel": normal(0, 3, 2).astype("float16"), "block0/dense/bias": normal(1, 2)}
    np.savez(path, **values, more=np.zeros(1))
    read = read_arrays(path, list(values))
    assert list(read) == list(values) and all(value.dtype == np.float32 for value in read.values())
    fill_model(model, read, path)
    np.testing.assert_array_equal(arrays(model.layers[0].kernel), values["block0/dense/kernel"].astype("float32"))


def test_wrong_files(tmp_path):
    path = tmp_path / "weights.npz"
    with pytest.raises(ValueError, match="`path` must be a readable `.npz` weight file.*Received: path="):
        read_arrays(path, ["a"])
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="`path` must be a readable"):
        read_arrays(path, ["a"])
    np.savez(path, a=np.zeros(2))
    with pytest.raises(ValueError, match="1 are missing, the first of them 'b'"):
        read_arrays(path, ["a", "b"])
    with pytest.raises(ValueError, match=r"'block0/dense/kernel' of shape \(3, 2\).*its shape is None"):
        fill_model(make_model(), {}, path)
