"""Tokenizers of CLIP in a folder of transformers: `tokenizer.json`, or `vocab.json` and `merges.txt`."""

import json
from pathlib import Path

from latentdiff.convert.configs import read_json

START, END = "<|startoftext|>", "<|endoftext|>"


def load_tokenizer(folder):
    """KerasHub's `CLIPTokenizer` with the vocabulary, the merges and the padding of a folder.

    Raises:
        ValueError: a file that is missing or damaged, or a tokenizer of another kind.
    """
    import keras_hub

    folder = Path(folder)
    whole = read_json(folder / "tokenizer.json") if (folder / "tokenizer.json").is_file() else None
    vocabulary, merges = _files(folder) if whole is None else _parts(whole, folder / "tokenizer.json")
    lost = [mark for mark in (START, END) if mark not in vocabulary]
    if lost:
        raise ValueError(f"The vocabulary in {folder} must hold {START} and {END}. Received: one without {lost}")
    return keras_hub.models.CLIPTokenizer(vocabulary, merges, pad_with_end_token=_pads_with_end(folder, vocabulary))


def _parts(whole, path):
    model = whole.get("model", {})
    if model.get("type") != "BPE" or model.get("end_of_word_suffix") != "</w>":
        raise ValueError(f"{path} must hold the byte pairs of CLIP. Received: a model of type {model.get('type')!r}")
    new = [token["content"] for token in whole.get("added_tokens", ()) if token["content"] not in model["vocab"]]
    if new:
        raise ValueError(f"{path} must hold the words of CLIP alone. Received: further tokens {new}")
    return model["vocab"], [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]


def _files(folder):
    vocabulary = read_json(folder / "vocab.json")
    path = folder / "merges.txt"
    if not path.is_file():
        raise ValueError(f"The folder is incomplete: {path} is missing.")
    lines = path.read_text(encoding="utf-8").split("\n")  # a merge may hold other characters that end lines
    return vocabulary, [line for line in lines if line.strip() and not line.startswith("#version")]


def _pads_with_end(folder, vocabulary):
    """Whether the end mark fills short prompts; otherwise token 0 does, in Stable Diffusion 2."""
    token = END
    for name in ("tokenizer_config.json", "special_tokens_map.json"):  # the latter wins
        if (folder / name).is_file():
            token = read_json(folder / name).get("pad_token", token)
    token = token["content"] if isinstance(token, dict) else token
    if token != END and vocabulary.get(token) != 0:
        raise ValueError(f"`pad_token` in {folder} must be {END} or token 0. Received: pad_token={token!r}")
    return token == END


def save_tokenizer(tokenizer, folder, sequence_length, pad_id):
    """Writes a `CLIPTokenizer` into a folder, as the files that all versions of transformers read."""
    folder.mkdir()
    merges = [merge for merge in tokenizer.merges if not merge.startswith("#version")]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    marks = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": tokenizer.id_to_token(pad_id)}
    files = {
        "vocab.json": dict(tokenizer.vocabulary),
        "special_tokens_map.json": marks,
        "tokenizer_config.json": {
            **marks,
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": sequence_length,
            "do_lower_case": True,
            "add_prefix_space": False,
        },
    }
    for name, values in files.items():
        (folder / name).write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
