"""Samplers by name. To add one: a file with one class, and a line here."""

from latentdiff.samplers.ddim import DDIM
from latentdiff.samplers.ddpm import DDPM
from latentdiff.samplers.sampler import Sampler

SAMPLERS = {"ddim": DDIM, "ddpm": DDPM}


def get(sampler):
    """A sampler from its name, from a dict of name and arguments, or the sampler itself.

    >>> get({"name": "ddim", "eta": 0.5})

    Raises:
        ValueError: no sampler has this name.
    """
    if isinstance(sampler, Sampler):
        return sampler
    arguments = dict(sampler) if isinstance(sampler, dict) else {"name": sampler}
    name = arguments.pop("name", None)
    if name not in SAMPLERS:
        raise ValueError(f"`sampler` must be one of {sorted(SAMPLERS)}, or a Sampler. Received: sampler={sampler!r}")
    return SAMPLERS[name](**arguments)
