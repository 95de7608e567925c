"""Weights that numpy, PyTorch and Keras agree on: each is a function of its name in diffusers and of its shape there.

Nothing but numpy is needed here. `unet_name` and `autoencoder_name` map the path of one of our variables to the name in
diffusers, `to_torch_shape` its shape, `from_torch` the numbers.
"""

import math
import re
import zlib

import numpy as np

LEAVES = {"kernel": "weight", "gamma": "weight", "scale": "weight", "beta": "bias", "offset": "bias", "bias": "bias"}
PARTS = {
    "time_dense": "time_emb_proj",
    "shortcut": "conv_shortcut",
    "self_attention": "attn1",
    "cross_attention": "attn2",
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "out": "to_out.0",
    "feed_in": "ff.net.0.proj",
    "feed_out": "ff.net.2",
    "project_in": "proj_in",
    "project_out": "proj_out",
    "dense_in": "linear_1",
    "dense_out": "linear_2",
    "norm_out": "conv_norm_out",
}


def make(name, shape):
    """A weight of a layer in PyTorch's layout, float32: kernels keep the variance, scales lie around 1."""
    values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if len(shape) > 1:
        return (values / math.sqrt(math.prod(shape[1:]))).astype("float32")
    return (0.2 * values + (1.0 if name.endswith("weight") else 0.0)).astype("float32")


def from_torch(values):
    """PyTorch's (out, in, height, width) or (out, in) -> Keras' (height, width, in, out) or (in, out)."""
    return values.transpose(2, 3, 1, 0) if values.ndim == 4 else values.T


def to_torch_shape(shape):
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else tuple(reversed(shape))


def _block(name, levels):
    """The place of one of our blocks in diffusers, where the levels of the way up count from the coarsest."""
    if found := re.fullmatch(r"(down|up)_(\d+)_(.*)", name):
        way, level, rest = found.groups()
        stage = f"{way}_blocks.{level if way == 'down' else levels - 1 - int(level)}"
        if rest == "downsample" or rest == "upsample":
            return f"{stage}.{rest}rs.0"
        index, _, kind = rest.partition("_")
        return f"{stage}.{'attentions' if kind == 'transformer' else 'resnets'}.{index}"
    middle = {"middle_resnet_in": "resnets.0", "middle_resnet_out": "resnets.1"}
    if name.startswith("middle"):
        return "mid_block." + middle.get(name, "attentions.0")
    return PARTS.get(name, name)


def unet_name(path, levels):
    block, *parts, leaf = path.split("/")
    parts = [re.sub(r"^block_", "transformer_blocks.", PARTS.get(part, part)) for part in parts]
    return ".".join([_block(block, levels), *parts, LEAVES[leaf]])


def autoencoder_name(half, path, levels):
    """`half` is "encoder" or "decoder"."""
    block, *parts, leaf = path.split("/")
    if block in ("moments", "latents_in"):
        return f"{'quant_conv' if block == 'moments' else 'post_quant_conv'}.{LEAVES[leaf]}"
    parts = [PARTS.get(part, part) for part in parts if part != "attention"]
    if block == "middle_attention" and parts == ["norm"]:
        parts = ["group_norm"]
    return ".".join([half, _block(block, levels), *parts, LEAVES[leaf]])


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
