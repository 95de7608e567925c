"""Presets: a trained model in a folder, laid out as KerasHub lays out its own.

config.json           the LatentDiffusion model
task.json             how to use it: image size, sampler, steps, guidance
tokenizer.json, assets/tokenizer/   the tokenizer, written by KerasHub
metadata.json         versions, numbers of parameters and of words
model.weights.h5      all weights; or, when sharded, pieces of this file and their list in model.weights.json
README.md             the model card, if there is one
"""

import datetime
import json
from pathlib import Path

import keras

from latentdiff import preset_weights
from latentdiff.guidance import finite_interval, read_interval
from latentdiff.pipeline import SETTINGS
from latentdiff.preset_folder import CONFIG_FILE, preset_folder
from latentdiff.version import __version__

TASK_FILE = "task.json"
METADATA_FILE = "metadata.json"
TOKENIZER_FOLDER = "assets/tokenizer"


def load_preset(preset, kind=None, **kwargs):
    """Opens a preset as a `TextToImage`, or a pipeline of another kind.

    Args:
        preset: name or folder, see `preset_folder.preset_folder`.
        kind: the class, `TextToImage` by default, or for instance `Inpaint`.
        kwargs: settings of it that replace the preset's.

    Raises:
        ValueError: no such preset, or a file of it is missing, truncated or changed; names the file.
    """
    from latentdiff import TextToImage  # and with it all classes that a config may name

    folder = preset_folder(preset)
    settings = _read_json(folder / TASK_FILE)
    settings["guidance_interval"] = read_interval(settings.get("guidance_interval"))
    model = keras.saving.deserialize_keras_object(_read_json(folder / CONFIG_FILE))
    try:
        model.text_encoder.tokenizer.load_assets(str(folder / TOKENIZER_FOLDER))
    except OSError as error:
        raise ValueError(f"The preset is incomplete: {folder / TOKENIZER_FOLDER} can't be read ({error}).") from error
    _check_vocabulary(model.text_encoder.tokenizer, folder)
    preset_weights.load(model, folder)
    return (kind or TextToImage)(model, **{**settings, **kwargs})


def save_preset(text_to_image, folder, float16=False, max_shard_bytes=None):
    """Writes a `TextToImage` into a folder.

    Args:
        text_to_image: what to save.
        folder: created if it is not there; files of an earlier preset in it are replaced.
        float16: store weights with half the bits. They load as float32 again, rounded to 11 significant bits.
        max_shard_bytes: cut the weights into files of at most so many bytes, or None for one file.

    Raises:
        ValueError: a default sampler that is an object: JSON can hold a name, or a dict of name and arguments.
    """
    if not isinstance(text_to_image.sampler, (str, dict)):
        raise ValueError(
            "`text_to_image.sampler` must be a name, or a dict of name and arguments, to be saved. "
            f"Received: sampler={text_to_image.sampler!r}"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model = text_to_image.model
    _write_json(folder / CONFIG_FILE, _without_training(keras.saving.serialize_keras_object(model)))
    settings = {name: getattr(text_to_image, name) for name in SETTINGS}
    _write_json(folder / TASK_FILE, {**settings, "guidance_interval": finite_interval(settings["guidance_interval"])})
    model.text_encoder.tokenizer.save_to_preset(str(folder))
    _write_json(folder / METADATA_FILE, _metadata(model))
    preset_weights.save(model, folder, float16, max_shard_bytes)


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
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"The preset is damaged: {path} is not JSON ({error}).") from error


def _write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
