"""The model card of a preset that has none, from its config, its settings and its weights."""

import json

from latentdiff.presets import hub
from latentdiff.presets.weights import SAFETENSORS_FILE

CARD_FILE = "README.md"
FILES = ("config", "task", "metadata")
HEADER = "---\nlibrary_name: keras\npipeline_tag: text-to-image\ntags:\n- latentdiff\n- keras\n---\n\n"
CARD = """\
# {name}

Text to image at {width} x {height} pixels: latent diffusion, a preset of latentdiff.

    latentdiff generate "PROMPT" --preset {address}

## Model

| part | class | settings |
|---|---|---|
{parts}

{total:,} parameters in {bytes:,} bytes, stored as {dtypes}. Prediction: {prediction}.

## Defaults

{defaults}

## Data

{data}

## Versions

{versions}
"""


def make_card(folder, address, data=None):
    """The text of a card, Markdown; with the header of the Hugging Face Hub where it goes there.

    Args:
        folder: Path of a preset with its weights as safetensors.
        address: where it will lie.
        data: what it was trained on, in words.
    """
    config, task, metadata = (json.loads((folder / f"{name}.json").read_text()) for name in FILES)
    config = config["config"]
    parts = {name: part for name, part in config.items() if isinstance(part, dict) and "class_name" in part}
    height, width = task.pop("image_size")
    total = metadata.pop("parameter_count", 0)
    text = CARD.format(
        name=address.rpartition("/")[2].partition("@")[0],
        width=width,
        height=height,
        address=address,
        parts="\n".join(f"| {name} | {part['class_name']} | {_settings(part)} |" for name, part in parts.items()),
        total=total,
        bytes=(folder / SAFETENSORS_FILE).stat().st_size,
        dtypes=", ".join(_dtypes(folder / SAFETENSORS_FILE)),
        prediction=config.get("prediction_type", "that of the objective"),
        defaults=_list(task),
        data=data or "Not recorded.",
        versions=_list(metadata),
    )
    return HEADER + text if address.startswith(hub.HF) else text


def _settings(part):
    """The settings of a part that are plain values."""
    plain = {name: value for name, value in part["config"].items() if _is_plain(value)}
    return ", ".join(
        f"{name} {json.dumps(value)}" for name, value in plain.items() if name not in ("name", "trainable")
    )


def _is_plain(value):
    one = str | int | float
    return isinstance(value, one) or (isinstance(value, list) and all(isinstance(entry, one) for entry in value))


def _dtypes(path):
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return sorted({file.get_slice(name).get_dtype() for name in file.keys()})  # noqa: SIM118  it is no dict


def _list(values):
    return "\n".join(f"- {name}: {value}" for name, value in values.items())
