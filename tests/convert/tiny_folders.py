"""Folders of tiny Stable Diffusion models, written in every layout that there is, with the weights of weights.py."""

import json

import ml_dtypes
import numpy as np
from golden import clip_words, weights
from golden.original_names import original
from harness import GOLDEN
from safetensors.numpy import save_file

DTYPES = {"float32": "float32", "float16": "float16", "bfloat16": ml_dtypes.bfloat16}
FILES = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
RECORDED = {"inpaint": "inpainting", "inpaint_xl": "inpainting_xl", "xl": "stable_diffusion_xl"}
# Samplers that visit the timesteps of the schedulers that the golden images were made with.
SAMPLERS = {
    "ddim": {"name": "ddim", "spacing": "leading_offset"},
    "euler": {"name": "euler", "spacing": "leading_offset"},
    "dpmpp_2m": {"name": "dpmpp_2m", "spacing": "trailing"},
}
SHARD_BYTES = 60_000
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def golden(version):
    """The answers of diffusers for "sd1", "sd2", "inpaint", "inpaint_xl" or "xl", and the inputs."""
    with np.load(GOLDEN / f"{RECORDED.get(version, 'stable_diffusion')}.npz") as file:
        arrays = {name: file[name] for name in file.files}
    own = {name.removeprefix(f"{version}/"): values for name, values in arrays.items()}
    return {name: values.item() if values.ndim == 0 else values for name, values in own.items()}


def files(answers):
    """The stems of the files of weights, by part."""
    return {**FILES, "text_encoder_2": "model"} if "text_encoder_2/config" in answers else FILES


def single_file(answers):
    """All tensors as they lie in a file in the original layout."""
    parts = files(answers)
    configs = {part: json.loads(answers[f"{part}/config"]) for part in parts}
    return original({part: tensors(answers, part) for part in parts}, configs)


def tensors(answers, part):
    """The tensors of a part by name, float32."""
    shapes = json.loads(answers[f"{part}/shapes"])
    return {name: weights.make(name, tuple(shape)) for name, shape in shapes.items()}


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_weights(folder, stem, state, dtype="float32", variant=None, sharded=False):
    """One file, or shards and their index."""
    state = {name: np.ascontiguousarray(values.astype(DTYPES[dtype])) for name, values in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    middle = f".{variant}" if variant else ""
    if not sharded:
        save_file(state, folder / f"{stem}{middle}.safetensors")
        return
    shards, size = [{}], 0
    for name, values in state.items():
        if size + values.nbytes > SHARD_BYTES and shards[-1]:
            shards, size = [*shards, {}], 0
        shards[-1][name], size = values, size + values.nbytes
    places = {}
    for index, shard in enumerate(shards):
        file = f"{stem}{middle}-{index + 1:05}-of-{len(shards):05}.safetensors"
        save_file(shard, folder / file)
        places |= dict.fromkeys(shard, file)
    write_json(folder / f"{stem}.safetensors.index{middle}.json", {"metadata": {}, "weight_map": places})


def write_tokenizer(folder, pad_token, one_file=True):
    """As transformers 5 writes it, or as the earlier versions did."""
    vocabulary = clip_words.vocabulary()
    if one_file:
        merges = [merge.split(" ") for merge in clip_words.MERGES]
        model = {"type": "BPE", "end_of_word_suffix": "</w>", "vocab": vocabulary, "merges": merges}
        added = [{"id": vocabulary[mark], "content": mark} for mark in (clip_words.START, clip_words.END)]
        write_json(folder / "tokenizer.json", {"added_tokens": added, "model": model})
        write_json(folder / "tokenizer_config.json", {"pad_token": pad_token})
        return
    write_json(folder / "vocab.json", vocabulary)
    merges = "\n".join(["#version: 0.2", *clip_words.MERGES, ""])
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    write_json(folder / "tokenizer_config.json", {"pad_token": clip_words.END})
    write_json(folder / "special_tokens_map.json", {"pad_token": {"content": pad_token}})


def write_folder(folder, answers, prefix="", old_names=False, one_file=True, scheduler=(), **layout):
    """A folder as `save_pretrained` writes it; `layout` goes to `write_weights`."""
    inpaints, is_xl = json.loads(answers["unet/config"])["in_channels"] == 9, "text_encoder_2/config" in answers
    kind = f"StableDiffusion{'XL' if is_xl else ''}{'Inpaint' if inpaints else ''}Pipeline"
    write_json(folder / "model_index.json", {"_class_name": kind, "unet": ["diffusers", "x"]})
    config = json.loads(answers["scheduler/config"])
    write_json(folder / "scheduler" / "scheduler_config.json", {**config, **dict(scheduler)})
    for part, stem in files(answers).items():
        write_json(folder / part / "config.json", json.loads(answers[f"{part}/config"]))
        state = tensors(answers, part)
        if part == "text_encoder":
            state = {prefix + name: values for name, values in state.items()}
        if part == "vae" and old_names:
            state = {_old_name(name): values for name, values in state.items()}
        write_weights(folder / part, stem, state, **layout)
    pad_token = clip_words.END if json.loads(answers["text_encoder/config"])["hidden_act"] == "quick_gelu" else "!"
    write_tokenizer(folder / "tokenizer", pad_token, one_file)
    if is_xl:
        write_tokenizer(folder / "tokenizer_2", "!", one_file)
    return folder


def _old_name(name):
    for new, old in OLD_NAMES.items():
        name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
    return name
