"""The single file of CompVis and Stability: all parts of Stable Diffusion, by the names of their first code."""

import re
from pathlib import Path

from latentdiff.convert.tensors import Tensors, open_file

# What a file may hold beside the parts: the schedule, averages of the U-Net, and the other half of CLIP.
SPARE = re.compile(
    r"(model_ema\.|betas$|alphas_cumprod|sqrt_|log_one_minus_|posterior_|logvar$|lvlb_weights$|"
    r"cond_stage_model\.(model\.(text_projection|logit_scale|attn_mask)|logit_scale$|transformer\.text_projection)|"
    r"conditioner\.embedders\.(0\.logit_scale|0\.transformer\.text_projection|1\.model\.(logit_scale|attn_mask))).*"
)
PREFIXES = {
    "unet": ("model.diffusion_model.",),
    "vae": ("first_stage_model.",),
    "text_encoder": (
        "cond_stage_model.transformer.",
        "cond_stage_model.model.",
        "conditioner.embedders.0.transformer.",
    ),
    "text_encoder_2": ("conditioner.embedders.1.model.",),
}
# OpenCLIP multiplies by the projection from the left.
TRANSPOSED = ("text_projection.weight",)
RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
UNET = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "middle_block.0": "mid_block.resnets.0",
    "middle_block.1": "mid_block.attentions.0",
    "middle_block.2": "mid_block.resnets.1",
}
AUTOENCODER = {
    "mid.block_1": "mid_block.resnets.0",
    "mid.block_2": "mid_block.resnets.1",
    "mid.attn_1.norm": "mid_block.attentions.0.group_norm",
    "mid.attn_1.q": "mid_block.attentions.0.to_q",
    "mid.attn_1.k": "mid_block.attentions.0.to_k",
    "mid.attn_1.v": "mid_block.attentions.0.to_v",
    "mid.attn_1.proj_out": "mid_block.attentions.0.to_out.0",
    "norm_out": "conv_norm_out",
}
OPEN_CLIP = {
    "text_projection": "text_projection.weight",
    "token_embedding": "embeddings.token_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final": "final_layer_norm",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}


class OriginalFile:
    """The weights of all parts, in one file.

    Args:
        path: of the `.safetensors` file.

    Raises:
        ValueError: a file that is damaged, or a tensor that belongs to no part; names it.
    """

    def __init__(self, path):
        self.path = Path(path)
        known = tuple(prefix for prefixes in PREFIXES.values() for prefix in prefixes)
        with open_file(self.path) as file:
            unknown = [name for name in file.keys() if not name.startswith(known) and not SPARE.match(name)]  # noqa: SIM118
        if unknown:
            raise ValueError(f"{self.path} holds tensors that the model has no place for: {', '.join(unknown[:5])}")

    def __call__(self, part, network):
        """The `Tensors` of a part, by their names in diffusers; `network` is the Keras model of the part."""
        rename = {"unet": unet_name, "vae": autoencoder_name}.get(part, text_name)

        def name_here(name):
            prefix = next((prefix for prefix in PREFIXES[part] if name.startswith(prefix)), None)
            spare = prefix is None or SPARE.match(name)
            return None if spare else rename(name.removeprefix(prefix), network)

        return Tensors([self.path], name_here, TRANSPOSED)


def unet_name(name, unet):
    """The name in diffusers of a tensor of a U-Net. Blocks are counted through all levels in the file."""
    if found := re.match(r"(input|output)_blocks\.(\d+)\.(\d)\.(.*)", name):
        way, index, place, rest = found[1], int(found[2]), int(found[3]), found[4]
        if way == "output" or index:
            return _unet_block(way, index - (way == "input"), place, rest, unet.num_blocks + 1)
    name = _replaced(name, UNET)
    return _replaced(name, RESNET, after=r"mid_block\.resnets\.\d\.")


def _unet_block(way, index, place, rest, count):
    """Each level has `count` entries, of which the last one of the way down resamples."""
    level, block = divmod(index, count)
    stage = f"{'down' if way == 'input' else 'up'}_blocks.{level}"
    if rest.startswith("op."):
        return f"{stage}.downsamplers.0.conv.{rest.removeprefix('op.')}"
    if rest.startswith("conv."):
        return f"{stage}.upsamplers.0.{rest}"
    if place:
        return f"{stage}.attentions.{block}.{rest}"
    return f"{stage}.resnets.{block}.{_replaced(rest, RESNET)}"


def unet_layer_name(name, unet):
    """The inverse of `unet_name` for the name of a layer, without that of its tensor."""
    found = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.?(.*)", name)
    if not found:
        whole = _replaced(name, _inverse(UNET))
        return _replaced(whole, _inverse(RESNET), after=r"middle_block\.[02]\.")
    way, level, kind, block, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    first = level * (unet.num_blocks + 1) + (way == "down")
    if kind == "downsamplers":
        return f"input_blocks.{first + unet.num_blocks}.0.op"
    if kind == "upsamplers":
        attends = len(unet.widths) - 1 - level in unet.attention_levels
        return f"output_blocks.{first + unet.num_blocks}.{1 + attends}.conv"
    place, inner = (1, rest) if kind == "attentions" else (0, _replaced(rest, _inverse(RESNET)))
    return f"{'input' if way == 'down' else 'output'}_blocks.{first + block}.{place}.{inner}"


def _inverse(table):
    return {new: old for old, new in table.items()}


def autoencoder_name(name, autoencoder):
    """The name in diffusers of a tensor of an autoencoder, whose levels the file counts from the finest on."""
    half, _, rest = name.partition(".")
    if half not in ("encoder", "decoder"):
        return name
    if found := re.match(r"(down|up)\.(\d+)\.(.*)", rest):
        way, level, inner = found[1], int(found[2]), found[3]
        level = level if way == "down" else len(autoencoder.widths) - 1 - level
        inner = re.sub(r"^block\.", "resnets.", inner)
        inner = re.sub(r"^(down|up)sample\.", r"\1samplers.0.", inner)
        rest = f"{way}_blocks.{level}.{inner}"
    return f"{half}.{_replaced(rest, AUTOENCODER).replace('nin_shortcut', 'conv_shortcut')}"


def text_name(name, clip):
    """The name in diffusers of a tensor of a text encoder, whose own names are those of HF's CLIP or of OpenCLIP.

    OpenCLIP has query, key and value in one tensor: three names. Stable Diffusion 2 does without its last layer.
    """
    if found := re.match(r"transformer\.resblocks\.(\d+)\.(.*)", name):
        layer, rest = int(found[1]), found[2]
        if layer >= clip.num_layers:
            return None
        stage = f"encoder.layers.{layer}"
        if rest.startswith("attn.in_proj_"):
            return tuple(f"{stage}.self_attn.{one}_proj.{rest.removeprefix('attn.in_proj_')}" for one in "qkv")
        return f"{stage}.{_replaced(rest, OPEN_CLIP)}"
    name = _replaced(name.removeprefix("text_model."), OPEN_CLIP)
    return None if name == "embeddings.position_ids" else name


def _replaced(name, table, after=""):
    """`name` with the entry of a table that it begins with, perhaps behind a pattern, replaced."""
    start = re.match(after, name)
    if start is None:
        return name
    head, rest = name[: start.end()], name[start.end() :]
    for old, new in table.items():
        if rest == old or rest.startswith(f"{old}."):
            return head + new + rest.removeprefix(old)
    return name
