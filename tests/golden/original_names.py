"""The names of CompVis' and OpenCLIP's code for tensors of diffusers.

`make_stable_diffusion.py` checks them by diffusers' reader of single files.
"""

import re

import numpy as np

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0"}
RESNET |= {"conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
UNET = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
UNET |= {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}
UNET |= {"add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}
UNET |= {"mid_block.resnets.0": "middle_block.0", "mid_block.resnets.1": "middle_block.2"}
UNET |= {"mid_block.attentions.0": "middle_block.1"}
VAE = {
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0": "mid.attn_1",
}
VAE |= {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
VAE |= {"conv_norm_out": "norm_out", "conv_shortcut": "nin_shortcut"}
TEXT = {"embeddings.token_embedding": "token_embedding", "embeddings.position_embedding.weight": "positional_embedding"}
TEXT |= {
    "final_layer_norm": "ln_final",
    "encoder.layers": "transformer.resblocks",
    "self_attn.out_proj": "attn.out_proj",
}
TEXT |= {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}


def replaced(name, table):
    for new, old in table.items():
        name = re.sub(rf"(^|\.){re.escape(new)}(?=\.|$)", rf"\g<1>{old}", name)
    return name


def unet(name, layers, with_attention):
    """`with_attention`: whether each level of the way up has some, from the coarsest on."""
    found = re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", name)
    if not found:
        name = replaced(name, UNET)
        return replaced(name, RESNET) if name.startswith(("middle_block.0", "middle_block.2")) else name
    way, level, kind, block, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    first = level * (layers + 1) + (way == "down")
    side = "input" if way == "down" else "output"
    if kind == "downsamplers":
        return f"input_blocks.{first + layers}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{first + layers}.{1 + with_attention[level]}.{rest}"
    place = {"resnets": 0, "attentions": 1}[kind]
    return f"{side}_blocks.{first + block}.{place}.{rest if place else replaced(rest, RESNET)}"


def vae(name, levels):
    def stage(found):
        way, level = found[1], int(found[2])
        return f"{way}.{level if way == 'down' else levels - 1 - level}."

    name = re.sub(r"(down|up)_blocks\.(\d)\.", stage, replaced(name, VAE))
    return re.sub(r"(down|up)samplers\.0\.", r"\1sample.", re.sub(r"\bresnets\.", "block.", name))


def original(state, configs):
    """All tensors of a pipeline as they lie in a single file.

    Args:
        state: {part: {name: array}}.
        configs: {part: config}.
    """
    config, made = configs["unet"], {}
    attends = [block.startswith("CrossAttn") for block in config["up_block_types"]]
    for name, values in state["unet"].items():
        made[f"model.diffusion_model.{unet(name, config['layers_per_block'], attends)}"] = values
    for name, values in state["vae"].items():
        is_matrix = "mid_block.attentions" in name and values.ndim == 2
        key = f"first_stage_model.{vae(name, len(configs['vae']['block_out_channels']))}"
        made[key] = values[:, :, None, None] if is_matrix else values
    if "text_encoder_2" in state:
        second = {name.removeprefix("text_model."): values for name, values in state["text_encoder_2"].items()}
        projection = second.pop("text_projection.weight").T
        made |= {"conditioner.embedders.1.model.text_projection": np.ascontiguousarray(projection)}
        made |= open_clip(second, "conditioner.embedders.1.model.")
    if configs["text_encoder"]["hidden_act"] == "quick_gelu":
        prefix = "conditioner.embedders.0" if "text_encoder_2" in state else "cond_stage_model"
        return made | {f"{prefix}.transformer.text_model.{name}": x for name, x in state["text_encoder"].items()}
    return made | open_clip(state["text_encoder"])


def open_clip(state, prefix="cond_stage_model.model."):
    made = {}
    for name, values in state.items():
        if not re.search(r"self_attn\.[qkv]_proj", name):
            made[prefix + replaced(name, TEXT)] = values
        elif "q_proj" in name:
            parts = [state[name.replace("q_proj", f"{one}_proj")] for one in "qkv"]
            key = replaced(name, TEXT).replace("self_attn.q_proj.", "attn.in_proj_")
            made[prefix + key] = np.concatenate(parts)
    return made
