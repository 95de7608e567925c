"""Ten minutes of training on emoji latents with a DiT that costs what the U-Net of the shipped preset costs.

Command: those of `networks_unet.py`, with FILE=training/experiments/networks_dit.py and runs/dit.

Cost: 10 minutes of `fit` on one H200, at least 10,020 steps of 512, 57 ms each with the text encoder.
Result: joint retrieval 0.155 on 400 unseen pairs and 0.258 on 1,000 training captions, KID x 1000 24.0 and 22.0. The
record is runs/networks-1.md.
"""

from latentdiff.models.sizes import SIZES
from training.experiments import networks_unet


def get_experiment(quick=False):
    return networks_unet.get_experiment(quick).replace(network=SIZES["tiny-dit" if quick else "emoji-128-dit"])
