"""Latent diffusion in Keras: train with `fit`, generate from prompts, export anywhere."""

from latentdiff.autoencoder import Autoencoder
from latentdiff.latent_diffusion import LatentDiffusion
from latentdiff.noise_schedule import NoiseSchedule
from latentdiff.samplers import SAMPLERS
from latentdiff.text_encoder import TextEncoder
from latentdiff.text_to_image import TextToImage
from latentdiff.unet import UNet
from latentdiff.version import __version__

__all__ = [
    "SAMPLERS",
    "Autoencoder",
    "LatentDiffusion",
    "NoiseSchedule",
    "TextEncoder",
    "TextToImage",
    "UNet",
    "__version__",
]
