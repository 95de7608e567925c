"""Objectives by name. To add one: a line here."""

from latentdiff.diffusion.objectives.objective import Objective
from latentdiff.diffusion.objectives.tables import DISTRIBUTIONS, WEIGHTINGS, part

OBJECTIVES = {
    "ddpm": {"distribution": "uniform", "weighting": "none"},  # Ho et al., arXiv:2006.11239
    "min_snr": {"distribution": "uniform", "weighting": "min_snr"},  # Hang et al., arXiv:2303.09556
    "logit_normal": {"distribution": "logit_normal", "weighting": "none"},  # Esser et al., arXiv:2403.03206
    "edm": {"distribution": "log_normal", "weighting": "edm"},  # Karras et al., arXiv:2206.00364
}


def get(objective):
    """An objective from its name, from a dict of arguments of `Objective`, or the objective itself.

    >>> get({"distribution": {"name": "logit_normal", "mean": 0.5}, "weighting": "none"})

    Raises:
        ValueError: an unknown name.
    """
    if isinstance(objective, str):
        if objective not in OBJECTIVES:
            raise ValueError(f"`objective` must be one of {sorted(OBJECTIVES)}. Received: objective={objective!r}")
        objective = OBJECTIVES[objective]
    if not isinstance(objective, dict):
        return objective
    if "class_name" in objective:
        return part(objective, {}, "objective")
    unknown = set(objective) - {"distribution", "weighting"}
    if unknown:
        raise ValueError(f"`objective` must have 'distribution' and 'weighting'. Received: objective={objective!r}")
    return Objective(**objective)
