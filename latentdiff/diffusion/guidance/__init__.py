"""Kinds of guidance by name. To add one: a file with one class, and a line here."""

from latentdiff.diffusion.guidance.autoguidance import Autoguidance
from latentdiff.diffusion.guidance.classifier_free import ClassifierFreeGuidance
from latentdiff.diffusion.guidance.guidance import Guidance, check_guidance

GUIDANCE = {"classifier_free": ClassifierFreeGuidance, "autoguidance": Autoguidance}
