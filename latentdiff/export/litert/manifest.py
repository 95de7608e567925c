"""The manifest of an exported folder: all that a program needs to know to make a picture with its files."""

import hashlib

from latentdiff.diffusion import samplers
from latentdiff.diffusion.guidance import finite_interval
from latentdiff.diffusion.samplers.spacing import SPACINGS
from latentdiff.version import __version__

FORMAT = "latentdiff-litert"
FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
SAMPLERS = ("ddim", "dpmpp_2m")


def manifest(text_to_image, parts, files, quantization):
    """The manifest as a JSON value.

    Args:
        text_to_image: the `TextToImage`.
        parts: dict of names to `Part`s.
        files: dict of names of files to their bytes.
        quantization: dict of names of parts to what was done to them.
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
        "prediction_type": text_to_image.model.prediction_type,
        "noise_schedule": _noise_schedule(text_to_image.model.noise_schedule),
        "sampler": sampler_record(text_to_image.sampler),
        "num_steps": text_to_image.num_steps,
        "guidance_scale": text_to_image.guidance_scale,
        "guidance_rescale": text_to_image.guidance_rescale,
        "guidance_interval": finite_interval(text_to_image.guidance_interval),
    }


def file_record(content):
    """Size and checksum of a file."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def sampler_record(sampler):
    """Name, spacing and temperature of a sampler.

    Raises:
        ValueError: a sampler that the edge runtimes don't have.
    """
    known = samplers.get(sampler)
    name = next((name for name in SAMPLERS if type(known) is samplers.SAMPLERS[name]), None)
    if name is None or known.spacing not in SPACINGS or getattr(known, "eta", 0.0):
        raise ValueError(
            f"`text_to_image.sampler` must be one of {SAMPLERS}, with a `spacing` of {SPACINGS} and no `eta`: the edge "
            f"runtimes have no others. Received: sampler={sampler!r}"
        )
    return {"name": name, "spacing": known.spacing, "temperature": known.temperature}


def _part(name, part, quantization):
    inputs = {key: {"shape": list(spec.shape), "dtype": spec.dtype} for key, spec in part.inputs.items()}
    return {"file": f"{name}.tflite", "quantization": quantization, "inputs": inputs}


def _noise_schedule(schedule):
    """The tables that rates are interpolated in, see `NoiseSchedule`; their first entry is timestep -1."""
    return {
        "num_train_timesteps": schedule.num_train_timesteps,
        "preserves_variance": schedule.preserves_variance,
        "signal_positions": [_short(value) for value in schedule.signal_positions],
        "noise_positions": [_short(value) for value in schedule.noise_positions],
    }


def _short(value):
    """A float32 as the shortest decimal that reads as the same float32."""
    return float(str(value))
