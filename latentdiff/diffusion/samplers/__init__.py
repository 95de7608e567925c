"""Samplers by name. To add one: a file with one class, and a line here."""

from latentdiff.diffusion.samplers.ddim import DDIM
from latentdiff.diffusion.samplers.ddpm import DDPM
from latentdiff.diffusion.samplers.dpmpp_2m import DPMPP2M
from latentdiff.diffusion.samplers.dpmpp_2m_sde import DPMPP2MSDE
from latentdiff.diffusion.samplers.euler import Euler
from latentdiff.diffusion.samplers.euler_ancestral import EulerAncestral
from latentdiff.diffusion.samplers.heun import Heun
from latentdiff.diffusion.samplers.lcm import LCM
from latentdiff.diffusion.samplers.sampler import Sampler
from latentdiff.diffusion.samplers.unipc import UniPC

SAMPLERS = {
    "ddpm": DDPM,
    "ddim": DDIM,
    "euler": Euler,
    "euler_ancestral": EulerAncestral,
    "heun": Heun,
    "dpmpp_2m": DPMPP2M,
    "dpmpp_2m_sde": DPMPP2MSDE,
    "unipc": UniPC,
    "lcm": LCM,
}


def as_dict(sampler):
    """A new dict of name and arguments from one, or from a name."""
    return dict(sampler) if isinstance(sampler, dict) else {"name": sampler}


def get(sampler):
    """A sampler from its name, from a dict of name and arguments, or the sampler itself.

    >>> get({"name": "ddim", "eta": 0.5})

    Raises:
        ValueError: no sampler has this name.
    """
    if isinstance(sampler, Sampler):
        return sampler
    arguments = as_dict(sampler)
    name = arguments.pop("name", None)
    if name not in SAMPLERS:
        raise ValueError(f"`sampler` must be one of {sorted(SAMPLERS)}, or a Sampler. Received: sampler={sampler!r}")
    return SAMPLERS[name](**arguments)
