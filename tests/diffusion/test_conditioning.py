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


def test_concatenate_and_split_are_inverse():
    first, second = make(0, 2), make(10, 2)
    both = arrays(trees.concatenate([first, second]))
    shapes = {name: member.shape for name, member in both.items()}
    assert shapes == {"context": (4, 3, 4), "mask": (4, 3), "pooled": (4, 5)}
    assert both["mask"].dtype == bool
    for received, expected in zip(trees.split(both, 2), (first, second), strict=True):
        equal(received, expected)


def test_tile_and_rows():
    one = make(0, 2)
    twice = arrays(trees.tile(one, 2))
    for part in ((None, 2), (2, None), (-2, None)):
        equal(trees.rows(twice, *part), one)
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
