"""Which variable of a model is which tensor of a file: one table, for both directions."""

import functools

import numpy as np
from keras import ops

from latentdiff.convert import layouts
from latentdiff.convert.names import autoencoder_name, text_name, unet_name
from latentdiff.convert.unread import give
from latentdiff.models.clip_pair import ClipPair


def unet_weights(unet):
    """The variables of a `UNet` by their names in diffusers."""
    return {unet_name(variable.path, len(unet.widths)): variable for variable in unet.variables}


def autoencoder_weights(autoencoder):
    """The variables of the two networks of an `Autoencoder` by their names in diffusers."""
    halves = {"encoder": autoencoder.encoder, "decoder": autoencoder.decoder}
    levels = len(autoencoder.widths)
    return {
        autoencoder_name(half, variable.path, levels): variable
        for half, network in halves.items()
        for variable in network.variables
    }


def clip_weights(clip):
    """The variables of KerasHub's `CLIPTextEncoder` by their names in diffusers."""
    prefix = f"{clip.name}_"  # of the layers' names, once the backbone was opened from its config
    return {text_name(variable.path.removeprefix(prefix)): variable for variable in clip.variables}


def text_parts(text_encoder):
    """The networks of a `TextEncoder` around a `CLIPTextEncoder` or a `ClipPair`, and their variables by name.

    Returns:
        dict of the name of a part in diffusers -> (network, dict of variables).
    """
    backbone = text_encoder.backbone
    if not isinstance(backbone, ClipPair):
        return {"text_encoder": (backbone, clip_weights(backbone))}
    projection = {"text_projection.weight": backbone.projection.kernel}
    return {
        "text_encoder": (backbone.first, clip_weights(backbone.first)),
        "text_encoder_2": (backbone.second, {**clip_weights(backbone.second), **projection}),
    }


def assign(variables, tensors, origin):
    """Gives each variable its tensor.

    Args:
        variables: dict of variables by name.
        tensors: `Tensors`, with the same names.
        origin: where they come from, for messages.

    Raises:
        ValueError: a tensor that is missing, left over, or of another shape; names it. No variable has changed then.
    """
    missing, unknown = sorted(set(variables) - set(tensors)), sorted(set(tensors) - set(variables))
    if missing or unknown:
        lists = [("lacks", missing), ("holds tensors that the model has no place for:", unknown)]
        raise ValueError(f"{origin} " + "; it ".join(f"{told} {_some(names)}" for told, names in lists if names))
    for name, variable in variables.items():
        layouts.check_shape(tensors.shape(name), variable.path, variable.shape, f"{name} in {origin}")
    for name, variable in variables.items():
        give(variable, functools.partial(_read, tensors, name, variable))


def _read(tensors, name, variable):
    return layouts.to_variable(tensors[name], variable.path, variable.shape)


def arrays(variables, dtype="float32"):
    """The variables of a dict as arrays in PyTorch's layout, by the same names."""
    return {
        name: np.ascontiguousarray(layouts.to_torch(ops.convert_to_numpy(variable.value), variable.path), dtype)
        for name, variable in variables.items()
    }


def _some(names, most=5):
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
