"""Latent diffusion in Keras: train with `fit`, generate from prompts, export anywhere."""

import importlib
import sys

from latentdiff.placeholders import register_after_keras
from latentdiff.version import __version__

# The public names and the modules they are in. They load when one of them is first asked for: Keras takes seconds.
_MODULES = {
    "SAMPLERS": "diffusion.samplers",
    "Autoencoder": "models.autoencoder",
    "DiT": "models.dit",
    "ImageToImage": "pipelines.image_to_image",
    "Inpaint": "pipelines.inpaint",
    "LatentDiffusion": "models.latent_diffusion",
    "NoiseSchedule": "diffusion.noise_schedule",
    "TextEncoder": "models.text_encoder",
    "TextToImage": "pipelines.text_to_image",
    "UNet": "models.unet",
}
__all__ = [*_MODULES, "__version__"]


def _load():
    for file in ("models.losses", "models.power_averages"):  # registered, and no public names
        importlib.import_module(f"{__name__}.{file}")
    names = {name: getattr(importlib.import_module(f"{__name__}.{file}"), name) for name, file in _MODULES.items()}
    globals().update(names)


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _load()
    return globals()[name]


def __dir__():
    return sorted({*globals(), *__all__})


# Who has Keras already waits for nothing, and `keras.saving.load_model` then knows our classes.
if "keras" in sys.modules:
    _load()
else:
    register_after_keras(_load)
