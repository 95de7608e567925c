"""The files of a folder in diffusers' layout."""

import re
from pathlib import Path

from latentdiff.convert.configs import read_json

STEM = r"(?:diffusion_pytorch_model|model)"
WEIGHTS = re.compile(rf"{STEM}(?:\.([\w-]+))?\.safetensors")
# In front of version 0.31 diffusers wrote the variant of an index at another place.
INDICES = re.compile(rf"{STEM}(?:\.safetensors\.index(?:\.([\w-]+))?|\.([\w-]+)\.safetensors\.index)\.json")
SHARD = re.compile(r"-\d+-of-\d+")
PICKLED = (".bin", ".ckpt", ".pt", ".pth")


def weight_files(folder, variant=None):
    """The `.safetensors` files of a part of a pipeline.

    Args:
        folder: that of the part, such as SOURCE/unet.
        variant: for instance "fp16"; None for the files without one, or the only variant where there are none.

    Returns:
        list of paths: one, or the shards that an index names.

    Raises:
        ValueError: no such files, or pickled ones only, which are not opened.
    """
    folder = Path(folder)
    found = _variants(folder)
    chosen = next(iter(found)) if variant is None and len(found) == 1 else variant
    if chosen not in found:
        raise ValueError(_nothing(folder, variant, found))
    path = found[chosen]
    return _shards(path) if path.suffix == ".json" else [path]


def _variants(folder):
    """The file of weights, or the index of their shards, of each variant in a folder."""
    found = {}
    for path in sorted(folder.glob("*")):
        if match := INDICES.fullmatch(path.name):
            found.setdefault(match[1] or match[2], path)
        elif (match := WEIGHTS.fullmatch(path.name)) and not SHARD.search(path.name):
            found[match[1]] = path
    return found


def _shards(index):
    names = sorted(set(read_json(index).get("weight_map", {}).values()), key=str)
    for name in names:
        if not _is_plain(name) or not (index.parent / name).is_file():
            raise ValueError(f"{index} must name files beside it. Received: {name!r}")
    return [index.parent / name for name in names]


def _is_plain(name):
    return isinstance(name, str) and Path(name).name == name and not set(name) & set("/\\")


def _nothing(folder, variant, found):
    """The message that there are no such weights in a folder."""
    if found:
        return f"`variant` must be one of {sorted(found, key=str)} for {folder}. Received: variant={variant!r}"
    pickled = [path.name for path in sorted(folder.glob("*")) if path.suffix in PICKLED]
    if pickled:
        return (
            f"{folder} must hold .safetensors files: pickled ones may run code when they are opened. Where you trust "
            "them, convert them by diffusers: `DiffusionPipeline.from_pretrained(SOURCE).save_pretrained(OUTPUT)`. "
            f"Received: {pickled[0]}"
        )
    return f"The folder is incomplete: {folder} holds no .safetensors file."
