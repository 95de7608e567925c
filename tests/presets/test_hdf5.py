import h5py
import numpy as np
import pytest

from latentdiff.presets.hdf5 import check_plain


def external_link(file, outside):
    file["x"] = h5py.ExternalLink(outside, "secret")


def soft_link(file, outside):
    file["x"] = h5py.SoftLink("/layers/dense/vars")


def external_storage(file, outside):
    file.create_dataset("x", (4,), "u1", external=[(outside, 0, 4)])


def virtual(file, outside):
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource(outside, "secret", (4,))
    file.create_virtual_dataset("x", layout)


def endless(file, outside):
    file["layers/again"] = file["layers"]


def claimed(file, outside):
    file.create_dataset("x", (10**7, 10**7), "f4", chunks=(100, 100))


def compressed(file, outside):
    file.create_dataset("x", data=np.zeros((1000, 1000)), compression="gzip")


def texts(file, outside):
    file.create_dataset("x", data=["a", "b"])


def named_type(file, outside):
    file["x"] = np.dtype("f4")


@pytest.mark.parametrize(
    "harm, reason",
    [
        (external_link, "a link"),
        (soft_link, "a link"),
        (external_storage, "an array in another file"),
        (virtual, "an array in another file"),
        (endless, "a group within itself"),
        (claimed, "an array that is not stored whole"),
        (compressed, "an array that is not stored whole"),
        (texts, "no array of numbers"),
        (named_type, "no array of numbers"),
    ],
)
def test_a_file_that_is_more_than_arrays_is_refused(tmp_path, harm, reason):
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file["secret"] = np.arange(4, dtype="u1")
    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.ones((3, 2), "f4")
        file["layers/dense/vars/1"] = np.ones((0, 2), "f2")
        file["layers/dense/vars/2"] = np.zeros((2,), "V2")
        file["layers/dense/vars/3"] = np.float32(1)
        file.create_group("empty")
    check_plain(path)
    with h5py.File(path, "a") as file:
        harm(file, str(tmp_path / "outside.h5"))
    with pytest.raises(ValueError, match=f"refused: model.weights.h5 holds {reason}"):
        check_plain(path)
