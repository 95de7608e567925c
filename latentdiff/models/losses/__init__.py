"""Perceptual and adversarial losses."""

from latentdiff.models.losses.adversarial import Adversary, PatchDiscriminator, adversarial_losses, balance_gradients
from latentdiff.models.losses.perceptual import LPIPS, PerceptualLoss, alexnet_features

__all__ = [
    "LPIPS",
    "Adversary",
    "PatchDiscriminator",
    "PerceptualLoss",
    "adversarial_losses",
    "alexnet_features",
    "balance_gradients",
]
