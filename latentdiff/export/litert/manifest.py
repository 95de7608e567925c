"""The manifest of an exported folder: all that a program needs to know to make an image with its files."""

import dataclasses
import hashlib

from latentdiff.settings.table import IMAGE_SIZES, SETTINGS, describe
from latentdiff.version import __version__

FORMAT = "latentdiff-litert"
FORMAT_VERSION = 2
MANIFEST_FILE = "manifest.json"
STRENGTH = 0.8  # the default of image to image


def manifest(text_to_image, parts, files, quantization, samplers):
    """The manifest as a JSON value.

    Args:
        text_to_image: the `TextToImage`.
        parts: dict of names to `Part`s.
        files: dict of names of files to their bytes.
        quantization: dict of names of parts to what was done to them.
        samplers: names of the samplers, the default in front.
    """
    text_encoder = text_to_image.model.text_encoder
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "latentdiff_version": __version__,
        "files": {name: file_record(content) for name, content in files.items()},
        "parts": {name: _part(name, part, quantization[name]) for name, part in parts.items()},
        "tokenizer": {
            "file": "tokenizer.json",
            "num_tokens": parts["text_encoder"].inputs["token_ids"].shape[1],
            "start_id": text_encoder.start_id,
            "end_id": text_encoder.end_id,
            "pad_id": text_encoder.pad_id,
        },
        "image_size": text_to_image.image_size,
        "latent_shape": text_to_image.latent_shape,
        "samplers": {name: {"start": f"start_{name}", "advance": f"advance_{name}"} for name in samplers},
        "settings": settings(text_to_image, list(samplers)),
    }


def settings(text_to_image, samplers):
    """The rows of the settings, with the defaults and the bounds of this model, see `table.describe`."""
    defaults = {**text_to_image.request_defaults, "strength": STRENGTH, "sampler": samplers[0]}
    limits = {
        "num_steps": {"high": text_to_image.model.noise_schedule.num_train_timesteps},
        "sampler": {"choices": samplers},
    }
    rows = describe(defaults, [name for name, row in SETTINGS.items() if row.needs != IMAGE_SIZES])
    for row in rows:
        changes = limits.get(row["name"], {})
        row |= changes
        row["expected"] = dataclasses.replace(SETTINGS[row["name"]], **changes).expected
    return rows


def file_record(content):
    """Size and checksum of a file."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _part(name, part, quantization):
    inputs = {key: {"shape": list(spec.shape), "dtype": spec.dtype} for key, spec in part.inputs.items()}
    return {"file": f"{name}.tflite", "quantization": quantization, "inputs": inputs}
