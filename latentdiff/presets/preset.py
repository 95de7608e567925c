"""Presets: a trained model in a folder, laid out as KerasHub lays out its own.

config.json           the LatentDiffusion model
task.json             how to use it: image size, sampler, steps, guidance
tokenizer.json, assets/tokenizer/   the tokenizer, written by KerasHub
metadata.json         versions, numbers of parameters and of words
model.weights.h5      all weights; or, when sharded, pieces of this file and their list in model.weights.json; or, from
                      a hub, model.safetensors, which is in this list, too
README.md             the model card, if there is one

Saved over an earlier preset, the new one takes over in one moment, see `replacement`.
"""

import datetime
import json
from pathlib import Path

import keras

from latentdiff.diffusion import samplers
from latentdiff.models import autoencoder, clip_pair, latent_diffusion, text_encoder, unet  # noqa: F401  of a config
from latentdiff.presets import replacement
from latentdiff.presets import weights as preset_weights
from latentdiff.presets.closed_list import check_config
from latentdiff.presets.folder import CONFIG_FILE, check_files, preset_folder, shorten
from latentdiff.settings.table import PRESET, SETTINGS
from latentdiff.version import __version__

TASK_FILE = "task.json"
METADATA_FILE = "metadata.json"
TOKENIZER_FOLDER = "assets/tokenizer"
OWN_FILES = (CONFIG_FILE, TASK_FILE, METADATA_FILE, *replacement.OWN)
MAX_JSON_BYTES = 10_000_000
TRIES = 5


def load_preset(preset):
    """Opens a preset.

    Args:
        preset: name, folder or address, see `folder.preset_folder`.

    Returns:
        model: the `LatentDiffusion`.
        settings: dict, the arguments that a pipeline takes beside it.

    Raises:
        ValueError: no such preset; a file of it is missing, truncated, changed or a link out of its folder; a part that
            is not in the list of `closed_list`.
    """
    folder = preset_folder(preset)
    for _ in range(TRIES):
        stamp = replacement.stamp(folder)
        try:
            loaded = _load(replacement.where(folder))
        except (ValueError, OSError):
            if replacement.stamp(folder) == stamp:
                raise
        else:
            if replacement.stamp(folder) == stamp:
                return loaded
    raise ValueError(
        f"`preset` must stay as it is while it is opened: it was replaced {TRIES} times. Received: {preset=}"
    )


def _load(folder):
    check_files(folder, OWN_FILES)
    settings = _read_settings(folder / TASK_FILE)
    model = _read_model(folder / CONFIG_FILE)
    try:
        model.text_encoder.tokenizer.load_assets(str(folder / TOKENIZER_FOLDER))
    except Exception as error:  # KerasHub raises many kinds
        path = folder / TOKENIZER_FOLDER
        raise ValueError(f"The preset is incomplete: {path} can't be read ({shorten(error)}).") from error
    _check_vocabulary(model.text_encoder.tokenizer, folder)
    preset_weights.load(model, folder)
    return model, settings


def save_preset(folder, model, settings, float16=False, max_shard_bytes=None):
    """Writes a model and the settings of its pipeline into a folder.

    Args:
        folder: created if it is not there; files of an earlier preset in it are replaced. A process that is killed
            meanwhile leaves the earlier preset or the new one, whole; another one that opens it sees one of the two.
        model: the `LatentDiffusion`.
        settings: dict, the arguments that a pipeline takes beside the model.
        float16: store weights with half the bits. They load as float32 again, rounded to 11 significant bits.
        max_shard_bytes: cut the weights into files of at most so many bytes, or None for one file.

    Raises:
        ValueError: a default sampler that is an object: JSON can hold a name, or a dict of name and arguments.
    """
    if not isinstance(settings["sampler"], (str, dict)):
        raise ValueError(
            "`sampler` must be a name, or a dict of name and arguments, to be saved. "
            f"Received: sampler={settings['sampler']!r}"
        )
    preset_weights.check_shard_bytes(max_shard_bytes)
    with replacement.replacing(Path(folder)) as draft:
        _write_json(draft / CONFIG_FILE, _without_training(keras.saving.serialize_keras_object(model)))
        _write_json(draft / TASK_FILE, {name: _write_setting(name, value) for name, value in settings.items()})
        model.text_encoder.tokenizer.save_to_preset(str(draft))
        _write_json(draft / METADATA_FILE, _metadata(model))
        preset_weights.write(model, draft, float16, max_shard_bytes)


def _write_setting(name, value):
    return SETTINGS[name].to_json(value) if name in SETTINGS else value


def _read_settings(path):
    """The settings of `task.json`: those that a preset has, as `_write_setting` wrote them."""
    settings = _read_json(path)
    known = {"image_size", *(name for name, row in SETTINGS.items() if row.default == PRESET and row.needs is None)}
    if not settings.keys() <= known:
        names = shorten(sorted(settings.keys() - known))
        raise ValueError(f"The preset is damaged: {path} has unknown settings ({names}).")
    return {name: _read_setting(path, name, value) for name, value in settings.items()}


def _read_setting(path, name, value):
    if name not in SETTINGS or value is None:
        return value
    try:
        if isinstance(value, dict) and samplers.get(value):
            return value
        return SETTINGS[name].check(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"The preset is damaged: {path}: `{name}`: {shorten(error)}") from error


def _read_model(path):
    """The model of `config.json`, with fresh weights."""
    config = _read_json(path)
    check_config(config)
    try:
        model = keras.saving.deserialize_keras_object(config)
    except Exception as error:  # Keras raises many kinds, with the whole config
        raise ValueError(f"The preset is damaged: {path} makes no model ({shorten(error)}).") from error
    if not isinstance(model, latent_diffusion.LatentDiffusion):
        raise ValueError(f"The preset is damaged: {path} must make a LatentDiffusion. Received: {type(model).__name__}")
    return model


def _check_vocabulary(tokenizer, folder):
    """A vocabulary that lost lines can be read as well as a whole one, and would give other token ids."""
    expected = _read_json(folder / METADATA_FILE).get("vocabulary_size", tokenizer.vocabulary_size())
    if tokenizer.vocabulary_size() != expected:
        raise ValueError(
            f"The preset is damaged: the vocabulary in {folder / TOKENIZER_FOLDER} has {tokenizer.vocabulary_size()} "
            f"entries where {expected} belong."
        )


def _without_training(config):
    """A nested config without what only a compiled model has."""
    if not isinstance(config, dict):
        return config
    dropped = ("compile_config", "build_config")
    return {key: _without_training(value) for key, value in config.items() if key not in dropped}


def _metadata(model):
    import keras_hub

    return {
        "keras_version": keras.__version__,
        "keras_hub_version": keras_hub.__version__,
        "latentdiff_version": __version__,
        "parameter_count": model.count_params(),
        "vocabulary_size": model.text_encoder.tokenizer.vocabulary_size(),
        "date_saved": datetime.date.today().isoformat(),
    }


def _read_json(path):
    if not path.is_file():
        raise ValueError(f"The preset is incomplete: {path} is missing.")
    if (size := path.stat().st_size) > MAX_JSON_BYTES:
        raise ValueError(f"The preset is refused: {path.name} has {size} bytes, at most {MAX_JSON_BYTES} may be.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The preset is damaged: {path} is not JSON ({shorten(error)}).") from error
    if not isinstance(value, dict):
        raise ValueError(f"The preset is damaged: {path} must hold an object. Received: {shorten(value)}")
    return value


def _write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
