"""The names that diffusers gives to the weights of a U-Net, of an autoencoder and of the text encoder of CLIP."""

import re

LEAVES = {
    **dict.fromkeys(("kernel", "gamma", "scale", "embeddings"), "weight"),
    **dict.fromkeys(("beta", "offset", "bias"), "bias"),
}
PARTS = {
    "added_embedding": "add_embedding",
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


TEXT_PARTS = {
    "embedding": "embeddings",
    "layer_norm": "final_layer_norm",
    "layer_norm_1": "layer_norm1",
    "layer_norm_2": "layer_norm2",
    "attention": "self_attn",
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "attention_output": "out_proj",
    "dense_1": "mlp.fc1",
    "dense_2": "mlp.fc2",
}


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


def text_name(path):
    """The name in diffusers of a variable of KerasHub's `CLIPTextEncoder` at `path`, which has no prefix."""
    *parts, leaf = path.split("/")
    parts = [re.sub(r"^encoder_block_", "encoder.layers.", TEXT_PARTS.get(part, part)) for part in parts]
    return ".".join([*parts, LEAVES[leaf]])
