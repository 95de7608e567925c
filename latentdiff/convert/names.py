"""The names that diffusers gives to the weights of a U-Net and of an autoencoder, and PyTorch's layouts of them.

Needs numpy alone.
"""

import re

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


def from_torch(values):
    """PyTorch's (out, in, height, width) or (out, in) -> Keras' (height, width, in, out) or (in, out)."""
    return values.transpose(2, 3, 1, 0) if values.ndim == 4 else values.T


def to_torch_shape(shape):
    """The shape in PyTorch's layout of a kernel of ours, (height, width, in, out) or (in, out)."""
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
    """The name in diffusers of a U-Net's variable at `path`, of a U-Net with so many levels."""
    block, *parts, leaf = path.split("/")
    parts = [re.sub(r"^block_", "transformer_blocks.", PARTS.get(part, part)) for part in parts]
    return ".".join([_block(block, levels), *parts, LEAVES[leaf]])


def autoencoder_name(half, path, levels):
    """The name in diffusers of an autoencoder's variable; `half`, "encoder" or "decoder", holds it at `path`."""
    block, *parts, leaf = path.split("/")
    if block in ("moments", "latents_in"):
        return f"{'quant_conv' if block == 'moments' else 'post_quant_conv'}.{LEAVES[leaf]}"
    parts = [PARTS.get(part, part) for part in parts if part != "attention"]
    if block == "middle_attention" and parts == ["norm"]:
        parts = ["group_norm"]
    return ".".join([half, _block(block, levels), *parts, LEAVES[leaf]])
