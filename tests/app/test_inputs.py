import numpy as np
import pytest

from latentdiff.app import inputs
from latentdiff.settings.table import SETTINGS

VALUES = {
    "prompts": " a cat ",
    "seed": 7,
    "guidance_scale": 2.5,
    "guidance_interval": (0.5, float("inf")),
    "keep_pixels": True,
    "sampler": "euler",
}


@pytest.mark.parametrize("name", VALUES)
def test_fields_there_and_back(name):
    row = SETTINGS[name]
    assert inputs.read_fields([row], {name: inputs.to_field(row, VALUES[name])}) == {name: VALUES[name]}


def test_empty_fields_are_left_out():
    assert inputs.read_fields(SETTINGS.values(), dict.fromkeys(SETTINGS, "")) == {}


@pytest.mark.parametrize("name, text", [("seed", "1.5"), ("guidance_interval", "1"), ("guidance_interval", "a b")])
def test_texts_that_are_none(name, text):
    with pytest.raises(ValueError, match=f"`{name}` .*Received: '{text}'"):
        inputs.read_text(SETTINGS[name], text)


@pytest.mark.parametrize("name, value", [("seed", "7a"), ("sampler", {"name": "ddim"}), ("guidance_interval", "x")])
def test_values_of_a_png_that_are_none(name, value):
    assert inputs.to_field(SETTINGS[name], value) is None


@pytest.mark.parametrize(
    "files, scales, expected",
    [
        (None, "", []),
        (["a"], "", [("a", 1.0)]),
        (["a", "b"], "0.5", [("a", 0.5), ("b", 0.5)]),
        (["a", "b"], "0.5, -2", [("a", 0.5), ("b", -2.0)]),
    ],
)
def test_adapters(files, scales, expected):
    assert inputs.read_adapters(files, scales) == expected


@pytest.mark.parametrize("scales", ["1 2 3", "nan", "strong"])
def test_scales_that_are_none(scales):
    with pytest.raises(ValueError, match="numbers?"):
        inputs.read_adapters(["a", "b"], scales)


def test_an_editor_without_an_image():
    for value in (None, {}, {"background": None, "layers": [np.ones((8, 8, 4), "uint8")]}):
        assert inputs.read_editor(value, (8, 8)) == {}


def test_transparent_images_are_put_on_white():
    made = inputs.read_editor({"background": np.zeros((8, 8, 4), "uint8"), "layers": []}, (4, 4))
    assert made.keys() == {"images"} and (made["images"] == 255).all()
