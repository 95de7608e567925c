"""Every tensor has its place, in models of any size."""

import json
import types

import keras
import keras_hub
import numpy as np
import pytest
from convert.tiny_folders import golden, write_weights
from keras.src.backend.common import global_state

from latentdiff import Autoencoder, UNet
from latentdiff.convert import layouts, networks, weights
from latentdiff.convert.configs import Config
from latentdiff.convert.tensors import Tensors
from latentdiff.models.clip_pair import ClipPair
from latentdiff.models.sizes import SIZES

# === Assignment ===


@pytest.fixture
def dense():
    layer = keras.layers.Dense(3, name="dense")
    layer.build((None, 2))
    return {"a.weight": layer.kernel, "a.bias": layer.bias}


STATE = {"a.weight": np.arange(6, dtype="float32").reshape(3, 2), "a.bias": np.ones(3, "float32")}


def assign(variables, state, folder):
    write_weights(folder, "model", state)
    weights.assign(variables, Tensors([folder / "model.safetensors"]), "unet")


def test_assign(dense, tmp_path):
    assign(dense, STATE, tmp_path)
    np.testing.assert_array_equal(dense["a.weight"], STATE["a.weight"].T)
    np.testing.assert_array_equal(dense["a.bias"], STATE["a.bias"])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"a.bias": None}, "unet lacks a.bias$"),
        ({"b.bias": np.ones(3, "float32")}, "unet holds tensors that the model has no place for: b.bias$"),
        ({f"b.{n}": np.ones(3, "float32") for n in range(9)}, "no place for: b.0, b.1, b.2, b.3, b.4 and 4 more"),
        ({"a.bias": np.ones(4, "float32")}, r"a.bias in unet must have the shape \(3,\). Received: \(4,\)"),
    ],
)
def test_nothing_changes_unless_all_fits(dense, tmp_path, change, message):
    state = {name: values for name, values in {**STATE, **change}.items() if values is not None}
    with pytest.raises(ValueError, match=message):
        assign(dense, state, tmp_path)
    assert not np.array(dense["a.bias"]).any()


# === Counts ===


def without_weights(make):
    """A model whose variables have shapes and no values."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            return make()
    finally:
        global_state.set_global_attribute("uninitialized_variables", [])


def sd_unet(size, **changes):
    row = {name: value for name, value in {**SIZES[size], **changes}.items() if name != "network"}
    return without_weights(lambda: UNet((None, None, 4), **row))


def clip(*sizes):
    backbone = without_weights(lambda: keras_hub.models.CLIPTextEncoder(49408, *sizes))
    return backbone.variables


SIZES_OF_CLIP = ("vocabulary_size", "embedding_dim", "hidden_dim", "num_layers", "num_heads", "intermediate_dim")


def clip_pair(part):
    """The variables of one of the two text encoders of Stable Diffusion XL."""
    first = dict(zip(SIZES_OF_CLIP, (49408, 768, 768, 12, 12, 3072), strict=True))
    second = dict(zip(SIZES_OF_CLIP, (49408, 1280, 1280, 32, 20, 5120), strict=True))
    pair = without_weights(lambda: ClipPair(first, {**second, "intermediate_activation": "gelu"}, 1280))
    return weights.text_parts(types.SimpleNamespace(backbone=pair))[part][1].values()


# Parameters and tensors of the published files.
COUNTS = {
    "SD 1.5 U-Net": (lambda: weights.unet_weights(sd_unet("sd15")).values(), 859_520_964, 686),
    "SD 1.5 U-Net for inpainting": (
        lambda: weights.unet_weights(sd_unet("sd15", sees_mask=True)).values(),
        859_535_364,
        686,
    ),
    "SD 2.1 U-Net": (lambda: weights.unet_weights(sd_unet("sd21", context_dim=1024)).values(), 865_910_724, 686),
    "SD XL U-Net": (
        lambda: weights.unet_weights(sd_unet("sdxl", context_dim=2048)).values(),
        2_567_463_684,
        1_680,
    ),
    "CLIP L of SD XL": (lambda: clip_pair("text_encoder"), 123_060_480, 196),
    "OpenCLIP bigG": (lambda: clip_pair("text_encoder_2"), 694_659_840, 517),
    "autoencoder": (lambda: weights.autoencoder_weights(without_weights(Autoencoder)).values(), 83_653_863, 248),
    "CLIP L": (lambda: clip(768, 768, 12, 12, 3072), 123_060_480, 196),
    "OpenCLIP H": (lambda: clip(1024, 1024, 23, 16, 4096, "gelu"), 340_387_840, 372),
}


@pytest.mark.parametrize("name", COUNTS)
def test_full_sizes(name):
    make, parameters, tensors = COUNTS[name]
    shapes = [tuple(variable.shape) for variable in make()]
    assert len(shapes) == tensors
    assert sum(int(np.prod(shape)) for shape in shapes) == parameters


@pytest.mark.parametrize("version", ["sd1", "sd2", "inpaint", "xl"])
def test_names_and_shapes_are_those_of_diffusers(version):
    answers = golden(version)
    arguments = networks.unet_arguments(Config(json.loads(answers["unet/config"]), "unet"))
    unet = without_weights(lambda: UNet(**arguments))
    named = weights.unet_weights(unet)
    shapes = {name: list(layouts.torch_shape(variable.path, variable.shape)) for name, variable in named.items()}
    assert shapes == json.loads(answers["unet/shapes"])
