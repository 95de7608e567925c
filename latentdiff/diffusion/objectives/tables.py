"""Distributions of timesteps and weightings by name. To add one: a file with one class, and a line here."""

import keras

from latentdiff.diffusion.objectives.edm import EDM
from latentdiff.diffusion.objectives.log_normal import LogNormal
from latentdiff.diffusion.objectives.logit_normal import LogitNormal
from latentdiff.diffusion.objectives.min_snr import MinSNR
from latentdiff.diffusion.objectives.uniform import Uniform
from latentdiff.diffusion.objectives.unweighted import Unweighted

DISTRIBUTIONS = {"uniform": Uniform, "logit_normal": LogitNormal, "log_normal": LogNormal}
WEIGHTINGS = {"none": Unweighted, "min_snr": MinSNR, "edm": EDM}


def part(value, table, argument):
    """An object of a class in `table`, from its name or from a dict of name and arguments; other objects unchanged.

    Raises:
        ValueError: no class has this name.
    """
    if isinstance(value, dict) and "class_name" in value:  # a class of the user's, as Keras writes it
        return keras.saving.deserialize_keras_object(value)
    if not isinstance(value, (str, dict)):
        return value
    arguments = dict(value) if isinstance(value, dict) else {"name": value}
    name = arguments.pop("name", None)
    if name not in table:
        raise ValueError(f"`{argument}` must be one of {sorted(table)}, or an object. Received: {argument}={value!r}")
    return table[name](**arguments)


def config_of(value, table):
    """The dict from which `part` makes this object again."""
    name = next((name for name, kind in table.items() if type(value) is kind), None)
    return keras.saving.serialize_keras_object(value) if name is None else {"name": name, **value.get_config()}
