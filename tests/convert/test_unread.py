"""Weights that stay in their files until each is asked for."""

import tracemalloc

import h5py
import keras
import numpy as np
import pytest
from convert.tiny_folders import golden, write_folder
from harness import arrays

from latentdiff import TextToImage
from latentdiff.convert.unread import give, without_values

SIZE, COUNT = 512, 12  # a megabyte each


def stack(asked):
    """Dense layers; what is read for kernel i is full of i, and noted in `asked`."""
    model = keras.Sequential([keras.Input((SIZE,)), *(keras.layers.Dense(SIZE, use_bias=False) for _ in range(COUNT))])
    for index, kernel in enumerate(model.weights):
        give(kernel, lambda index=index: asked.append(index) or np.full((SIZE, SIZE), index, "float32"))
    return model


def test_each_is_read_once_when_it_is_written(tmp_path):
    asked = []
    model, values = without_values(lambda: stack(asked))
    assert asked == []
    tracemalloc.start()
    try:
        with values:
            model.save_weights(tmp_path / "all.weights.h5")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sorted(asked) == list(range(COUNT)) and peak < 4 * SIZE**2 * 4
    plain = stack([])
    assert [arrays(kernel).mean() for kernel in plain.weights] == list(range(COUNT))
    plain.load_weights(tmp_path / "all.weights.h5")
    assert [arrays(kernel).mean() for kernel in plain.weights] == list(range(COUNT))


def test_nothing_is_left_to_be_initialised():
    """Keras gives variables without values initial ones when the next scope ends."""
    asked = []
    model, values = without_values(lambda: stack(asked))
    with keras.StatelessScope():
        pass
    with values:
        assert arrays(model.weights[3].value).mean() == 3
    assert asked == [3]


def test_an_error_comes_through_and_later_models_have_values():
    def fail():
        stack([])
        raise ValueError("no such tensor")

    with pytest.raises(ValueError, match="no such tensor"):
        without_values(fail)
    assert arrays(stack([]).weights[2]).mean() == 2


@pytest.mark.slow
@pytest.mark.parametrize("version", ["sd1", "xl"])
def test_preset_is_that_of_a_model_with_values(tmp_path, version):
    folder = write_folder(tmp_path / "source", golden(version))
    plain = TextToImage.from_diffusers(folder)
    plain.save_to_preset(tmp_path / "plain")
    pipeline, values = without_values(lambda: TextToImage.from_diffusers(folder))
    with values:
        pipeline.save_to_preset(tmp_path / "unread")
    assert (tmp_path / "plain" / "task.json").read_text() == (tmp_path / "unread" / "task.json").read_text()
    expected, received = (datasets(tmp_path / name / "model.weights.h5") for name in ("plain", "unread"))
    assert expected.keys() == received.keys() and len(expected) > len(plain.model.unet.weights)
    for name, values in expected.items():
        np.testing.assert_array_equal(received[name], values, err_msg=name)


def datasets(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, entry: found.update({name: entry[()]} if isinstance(entry, h5py.Dataset) else {}))
    return found
