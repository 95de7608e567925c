"""Presets from strangers: no code runs when one is opened, and what is refused is said in a short message of ours."""

import json
import os
import pickle
import shutil

import keras
import pytest
from harness import GOLDEN, tiny_latent_diffusion, tiny_unet
from keras import ops

from latentdiff import TextToImage
from latentdiff.presets.closed_list import check_config

LONGEST = 200  # characters of a message, without the path in it


def part(module, name, config=None, registered_name=None):
    return {"module": module, "class_name": name, "config": config or {}, "registered_name": registered_name}


TOUCH = "touch {canary}"
HOSTILE = {
    "os.system": part("os", "function", "system", "system"),
    "os": part("os", "system", {"command": TOUCH}, "os>system"),
    "posix": part("posix", "system", {"command": TOUCH}),
    "Popen": part("subprocess", "Popen", {"args": TOUCH, "shell": True}, "Popen"),
    "eval": part("builtins", "function", "eval", "eval"),
    "exec": part("builtins", "exec", {"source": "import os"}),
    "open": part("builtins", "open", {"file": "/etc/passwd"}),
    "pickle": part("pickle", "loads", {"data": "cos\nsystem\n(S'true'\ntR."}),
    "lambda": {"class_name": "__lambda__", "config": {"value": ["4wEAAAA=", None, None]}},
    "a lambda by our name": {"class_name": "__lambda__", "config": {"value": ""}, "registered_name": "latentdiff>UNet"},
    "typespec": part(None, "__typespec__", {"spec_name": "x"}),
    "Lambda": part("keras.layers", "Lambda", {"function": {"class_name": "__lambda__", "config": {"value": ""}}}),
    "Lambda of a function": part("keras.layers", "Lambda", {"function": part("os", "function", "system", "system")}),
    "Lambda of the source": part("keras.src.layers.core.lambda_layer", "Lambda", {"function": "x"}),
    "TorchModuleWrapper": part("keras.layers", "TorchModuleWrapper", {"module": "x"}),
    "TFSMLayer": part("keras.layers", "TFSMLayer", {"filepath": "/tmp/model"}),
    "JaxLayer": part("keras.layers", "JaxLayer", {"call_fn": "x"}),
    "StringLookup": part("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}),
    "get_file": part("keras.utils", "function", "get_file", "get_file"),
    "load_model": part("keras.saving", "load_model", {"filepath": "/tmp/x.keras"}),
    "no module": {"class_name": "Lambda", "config": {"function": "x"}},
    "no text": part("keras.layers", ["Dense"]),
    "a module that is no text": part(["keras.layers"], "Dense"),
    "unknown": part("keras.layers", "NoSuchLayer"),
    "not imported": part("antigravity", "Flying"),
    "a task of KerasHub": part("keras_hub.src.models.task", "Task", {}, "keras_hub>Task"),
    "a function of KerasHub": part("keras_hub", "upload_preset", {}, "keras_hub>upload_preset"),
    "a loss that reads a file": part("latentdiff", "LPIPS", {"path": "/etc/passwd"}, "latentdiff>LPIPS"),
    "an optimizer": part("keras.optimizers", "Adam"),
    "a vocabulary elsewhere": part(
        "keras_hub", "BertTokenizer", {"vocabulary": "/etc/passwd"}, "keras_hub>BertTokenizer"
    ),
    "special tokens elsewhere": part(
        "keras_hub", "WhisperTokenizer", {"special_tokens": "/etc/passwd"}, "keras_hub>WhisperTokenizer"
    ),
    "a proto elsewhere": part("keras_hub", "T5Tokenizer", {"proto": "/etc/passwd"}, "keras_hub>T5Tokenizer"),
}


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(GOLDEN / "jax_preset", tmp_path / "tiny")


def refuse(folder, match):
    """Opening says no in a short sentence of ours."""
    with pytest.raises(ValueError, match=match) as error:
        TextToImage.from_preset(folder)
    message = str(error.value).replace(str(folder), "")
    assert len(message) < LONGEST and "\n" not in message, message


def rewrite(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


# === Contract ===


def test_everything_of_ours_is_allowed():
    check_config(keras.saving.serialize_keras_object(tiny_latent_diffusion(unet=tiny_unet(dtype="mixed_bfloat16"))))


def test_a_functional_network_with_operations_is_allowed():
    inputs = keras.Input((4, 4, 3))
    x = ops.silu(keras.layers.Conv2D(3, 1, activation="gelu", kernel_regularizer="l2")(inputs)) * 2
    network = keras.Model(inputs, ops.reshape(x, (-1, 4, 4, 3))[:, :2] + keras.layers.Dropout(0.1)(x)[:, 2:])
    check_config(json.loads(json.dumps(keras.saving.serialize_keras_object(network))))


def test_a_class_of_the_user_is_allowed_when_it_is_registered():
    class Mine(keras.layers.Layer):
        pass

    config = part("user.module", "Mine", {}, "user>Mine")
    with pytest.raises(ValueError, match="registered classes. Received: 'Mine' of 'user.module'"):
        check_config(config)
    with keras.saving.custom_object_scope({"user>Mine": Mine}):
        check_config(config)


# === Errors ===


@pytest.mark.parametrize("place", ["model", "unet", "deep"])
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_a_part_with_code_is_refused(folder, tmp_path, hostile, place):
    canary = tmp_path / "canary"
    hostile = json.loads(json.dumps(hostile).replace("{canary}", str(canary)))
    places = {
        "model": lambda config: config.clear() or config.update(hostile),
        "unet": lambda config: config["config"].update(unet=hostile),
        "deep": lambda config: config["config"]["autoencoder"]["config"].update(name=[{"x": [hostile]}]),
    }
    rewrite(folder / "config.json", places[place])
    refuse(folder, "refused: it may hold parts of")
    assert not canary.exists()


def test_a_config_of_endless_depth_is_refused(folder):
    rewrite(folder / "config.json", lambda config: config.update(name=json.loads("[" * 200 + "]" * 200)))
    refuse(folder, "refused: its config has parts more than 100 deep")
    (folder / "config.json").write_text("[" * 100_000 + "]" * 100_000)
    refuse(folder, "config.json is not JSON")


@pytest.mark.parametrize("name", ["config.json", "task.json", "metadata.json"])
@pytest.mark.parametrize("text", ["[]", "null", "7", '"text"', "{", "\xff"])
def test_json_of_another_kind_is_refused(folder, name, text):
    (folder / name).write_bytes(text.encode("latin-1"))
    refuse(folder, f"damaged: .*{name}")


@pytest.mark.parametrize(
    "setting",
    [{"num_steps": "many"}, {"sampler": {"name": "ddim", "x": 1}}, {"sampler": {}}, {"model": 1}, {"prompts": "a"}],
)
def test_settings_that_are_none_are_refused(folder, setting):
    rewrite(folder / "task.json", lambda settings: settings.update(setting))
    refuse(folder, "damaged: .*task.json")


def test_a_config_that_makes_nothing_is_refused(folder):
    rewrite(folder / "config.json", lambda config: config["config"]["unet"]["config"].update(widths="a"))
    refuse(folder, "config.json makes no model")
    (folder / "config.json").write_text(json.dumps(part("keras.layers", "Dense", {"units": 2})))
    refuse(folder, "must make a LatentDiffusion. Received: Dense")


@pytest.mark.parametrize("name", ["config.json", "task.json", "model.weights.h5", "assets/tokenizer/vocabulary.txt"])
def test_a_link_out_of_the_folder_is_refused(folder, name):
    outside = shutil.move(folder / name, folder.parent / "outside")
    os.symlink(outside, folder / name)
    refuse(folder, "must be a file in its folder, and no link out of it")


def test_a_linked_folder_of_assets_is_refused(folder):
    outside = shutil.move(folder / "assets", folder.parent / "outside")
    os.symlink(outside, folder / "assets")
    refuse(folder, "no link out of it")


def test_a_pipe_in_place_of_a_file_is_refused(folder):
    (folder / "assets/tokenizer/vocabulary.txt").unlink()
    os.mkfifo(folder / "assets/tokenizer/vocabulary.txt")
    refuse(folder, "must be a file in its folder")


def test_a_pickle_in_place_of_weights_is_refused(folder, tmp_path):
    class Harm:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'canary'}",)

    (folder / "model.weights.h5").write_bytes(pickle.dumps(Harm()))
    refuse(folder, r"damaged: .*model\.weights\.h5")
    assert not (tmp_path / "canary").exists()


def test_a_linked_preset_is_opened(folder, tmp_path):
    os.symlink(folder, tmp_path / "link")
    assert TextToImage.from_preset(tmp_path / "link").num_steps
