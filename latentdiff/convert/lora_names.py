"""The names of adapted layers in LoRA files, in both layouts."""

import re

from latentdiff.convert import original
from latentdiff.convert.names import unet_name
from latentdiff.models.unet import UNet

CLIP_PARTS = {
    "attention/query": "self_attn.q_proj",
    "attention/key": "self_attn.k_proj",
    "attention/value": "self_attn.v_proj",
    "attention/attention_output": "self_attn.out_proj",
    "dense_1": "mlp.fc1",
    "dense_2": "mlp.fc2",
}
# Layers of a text encoder of CLIP; those of a `ClipPair` say which of the two they are of.
CLIP_LAYER = re.compile(r"(?:(\w+)_)?encoder_block_(\d+)/(.+)")
PROJECTION = "text_encoder_2.text_projection"
KOHYA = {"unet": "lora_unet", "text_encoder": "lora_te", "text_encoder_2": "lora_te2"}


def layer_names(model):
    """The name of each layer of a `LatentDiffusion` that can be adapted.

    Args:
        model: `LatentDiffusion`.

    Returns:
        dict of path, as in `models.lora`, -> name with dots. Layers of a `UNet` have the names of diffusers, those of a
        CLIP text encoder the names of transformers; others, such as a `DiT`'s, their own path.
    """
    return {path: _name(model, *path.split("/", 1)) for path in model.lora.layers()}


def kohya_name(name):
    """The name in kohya's layout of a layer that is called so by `layer_names`."""
    part, _, rest = name.partition(".")
    return f"{KOHYA[part]}_{rest.replace('.', '_')}"


def kohya_names(model):
    """As `layer_names`, with the names in kohya's layout. The first of two text encoders has a number there, too."""
    names = layer_names(model)
    two = any(name.startswith("text_encoder_2.") for name in names.values())
    return {path: _numbered(kohya_name(name)) if two else kohya_name(name) for path, name in names.items()}


def known_names(model):
    """dict of each name that a LoRA file may use for a layer -> its path; None for a layer that is left out.

    Of the last layers of a text encoder, which `clip_skip` leaves out, there are matrices in many files.
    """
    used = model.lora.layers()
    return {
        spelling: path if path in used else None
        for path in model.lora.layers(unused=True)
        for spelling in _spellings(model, _name(model, *path.split("/", 1)))
    }


def _spellings(model, name):
    """The names in all kinds of files of a layer that is called so by `layer_names`."""
    part, _, rest = name.partition(".")
    names = [name, kohya_name(name)]
    if part.startswith("text_encoder"):  # versions of the writers differ in these
        short = f"{part}.{rest.removeprefix('text_model.')}"
        names += [short, kohya_name(short)]
    elif isinstance(model.unet, UNet):  # kohya's scripts for Stable Diffusion XL call the blocks as its file does
        names.append(kohya_name(f"{part}.{original.unet_layer_name(rest, model.unet)}"))
    return [*names, *map(_numbered, names)]


def _numbered(name):
    return re.sub("^lora_te_", "lora_te1_", name)


def _name(model, part, path):
    if part == "unet" and isinstance(model.unet, UNet):
        return f"unet.{unet_name(f'{path}/kernel', len(model.unet.widths)).removesuffix('.weight')}"
    if part == "text_encoder" and path == "projection":
        return PROJECTION
    found = CLIP_LAYER.fullmatch(path)
    if part == "text_encoder" and found and found[3] in CLIP_PARTS:
        encoder = "text_encoder_2" if found[1] == "second" else "text_encoder"
        return f"{encoder}.text_model.encoder.layers.{found[2]}.{CLIP_PARTS[found[3]]}"
    return f"{part}.{path.replace('/', '.')}"
