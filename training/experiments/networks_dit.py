"""Ten minutes of training on emoji latents with a DiT that costs what the U-Net of the shipped preset costs.

Commands: those of `networks_unet.py`, with this file.
"""

from latentdiff.models.sizes import SIZES
from training.experiments import networks_unet


def get_experiment(quick=False):
    return networks_unet.get_experiment(quick).replace(network=SIZES["tiny-dit" if quick else "emoji-128-dit"])
