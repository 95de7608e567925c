"""Weights that numpy, PyTorch and Keras agree on: each is a function of its name in diffusers and its shape there."""

import math
import re
import zlib

import numpy as np

from latentdiff.convert.layouts import from_torch, to_torch_shape
from latentdiff.convert.names import LEAVES, PARTS


def make(name, shape):
    """A weight of a layer in PyTorch's layout, float32: kernels keep the variance, scales lie around 1."""
    values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if len(shape) > 1:
        return (values / math.sqrt(math.prod(shape[1:]))).astype("float32")
    return (0.2 * values + (1.0 if name.endswith("weight") else 0.0)).astype("float32")


def fill(model, name_of):
    """Sets every variable of a Keras model; `name_of` maps its path to the name in diffusers. Returns the names."""
    names = []
    for variable in model.variables:
        names.append(name_of(variable.path))
        shape = tuple(variable.shape)
        is_table = names[-1].endswith("table")  # these are no kernels, and lie alike in both
        variable.assign(make(names[-1], shape) if is_table else from_torch(make(names[-1], to_torch_shape(shape))))
    return names


DIT_PARTS = {
    "time_embedding": "adaln_single.emb.timestep_embedder",
    "modulation": "adaln_single.linear",
    "patch_in": "pos_embed.proj",
    "feed_in": "ff.net.0.proj",
    "feed_out": "ff.net.2",
}


def dit_name(path):
    block, *parts, leaf = path.split("/")
    if block == "out":
        return "scale_shift_table" if not parts else f"proj_out.{LEAVES[leaf]}"
    block = re.sub(r"^block_", "transformer_blocks.", DIT_PARTS.get(block, block))
    parts = [DIT_PARTS.get(part, PARTS.get(part, part)) for part in parts]
    return ".".join([block, *parts, LEAVES.get(leaf, leaf)])
