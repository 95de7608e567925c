"""The names of adapted layers in LoRA files, in both layouts."""

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
KOHYA = {"unet": "lora_unet", "text_encoder": "lora_te"}


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


def known_names(model):
    """dict of each name that a LoRA file may use for a layer -> its path."""
    names = {}
    for path, name in layer_names(model).items():
        names |= dict.fromkeys([name, kohya_name(name)], path)
        if name.startswith("text_encoder."):  # versions of the writers differ in these
            short = name.replace("text_encoder.text_model.", "text_encoder.")
            flat = kohya_name(name).removeprefix("lora_te_")
            names |= dict.fromkeys([short, f"lora_te1_{flat}", kohya_name(short)], path)
    return names


def _name(model, part, path):
    if part == "unet" and isinstance(model.unet, UNet):
        return f"unet.{unet_name(f'{path}/kernel', len(model.unet.widths)).removesuffix('.weight')}"
    block, _, rest = path.partition("/")
    if part == "text_encoder" and block.startswith("encoder_block_") and rest in CLIP_PARTS:
        layer = block.removeprefix("encoder_block_")
        return f"text_encoder.text_model.encoder.layers.{layer}.{CLIP_PARTS[rest]}"
    return f"{part}.{path.replace('/', '.')}"
