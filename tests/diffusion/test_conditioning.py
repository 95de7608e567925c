import keras
import numpy as np
import pytest
from harness import arrays, assert_close, normal

from latentdiff.diffusion import conditioning as trees


def make(seed, batch):
    members = {"context": normal(seed, batch, 3, 4), "mask": normal(seed + 1, batch, 3) > 0}
    return {**members, "pooled": normal(seed, batch, 5)}


def equal(first, second):
    assert list(first) == list(second)
    assert_close(first, second, 0.0)


def test_rows_are_a_slice():
    one, other = make(0, 2), make(10, 2)
    both = {name: np.concatenate([member, other[name]]) for name, member in one.items()}
    equal(trees.rows(both, None, 2), one)
    for first in (2, -2):
        equal(trees.rows(both, first, None), other)
    equal(trees.rows(one, None, -1), {name: member[:1] for name, member in one.items()})


@pytest.mark.parametrize("batch", [1, 3])
def test_where_chooses_whole_rows(batch):
    null, one = make(0, batch), make(10, 3)
    received = arrays(trees.where(np.array([True, False, True]), null, one))
    for name, member in one.items():
        np.testing.assert_array_equal(received[name], np.stack([null[name][0], member[1], null[name][-1]]))
        assert received[name].dtype == member.dtype


def test_floats_and_back():
    one = make(0, 2)
    specs = {name: keras.InputSpec(member.dtype.name, (None, *member.shape[1:])) for name, member in one.items()}
    floats = arrays(trees.as_floats(one))
    assert {member.dtype.name for member in floats.values()} == {"float32"}
    assert set(np.unique(floats["mask"])) == {0.0, 1.0}
    back = arrays(trees.from_floats(floats, specs))
    assert back["mask"].dtype == bool
    equal(back, one)


def test_specs_of_a_batch():
    specs = trees.with_batch({"context": keras.InputSpec("bool", (None, 3, 4))}, 2)
    assert (specs["context"].shape, specs["context"].dtype) == ((2, 3, 4), "bool")
