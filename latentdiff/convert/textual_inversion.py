"""Files of textual inversion: vectors of new words, as diffusers, A1111 and Stable Diffusion XL lay them out."""

from pathlib import Path

import numpy as np
from keras import ops

from latentdiff.convert.tensors import Tensors
from latentdiff.whole_files import write_bytes

A1111 = "emb_params"
XL = ("clip_l", "clip_g")  # the two text encoders of Stable Diffusion XL
XL_WIDTH = 1280  # of the second
LAYOUTS = ("diffusers", "a1111", "xl")


def load_textual_inversion(path, model, word=None):
    """Adds the word in a file to the text encoder of a model.

    Args:
        path: a safetensors file with one tensor (n, dim) or (dim,), whose key is the word (diffusers) or "emb_params"
            (A1111), or with the keys "clip_l" and "clip_g", of which the one of the model's width is taken.
        model: `LatentDiffusion`.
        word: str; default: the key of diffusers' layout, else the name of the file without its ending.

    Returns:
        The word.

    Raises:
        ValueError: no safetensors file, or one of another layout or width; a word that is there already.
    """
    words = model.text_encoder.words
    try:
        key, vectors = _vectors(Tensors([path]), words.dim)
        word = word or (Path(path).stem if key in (A1111, *XL) else key)
        words.insert(word, vectors)
    except ValueError as error:
        raise ValueError(
            f"`path` must be a file of textual inversion for this model: {error}. Received: path={str(path)!r}"
        ) from error
    return word


def save_textual_inversion(path, model, word, layout="diffusers"):
    """Writes a word of a model into a safetensors file, whole or not at all, as float32.

    Args:
        path: of the file, which should end in `.safetensors`.
        model: `LatentDiffusion`.
        word: str, one of `model.text_encoder.words`.
        layout: "diffusers", "a1111", or "xl" for the key of one of Stable Diffusion XL's text encoders, by its width.

    Raises:
        ValueError: no such word, or an unknown layout.
    """
    from safetensors.numpy import save

    if layout not in LAYOUTS:
        raise ValueError(f"`layout` must be one of {list(LAYOUTS)}. Received: {layout=}")
    vectors = ops.convert_to_numpy(model.text_encoder.words[word].vectors)
    keys = {"diffusers": word, "a1111": A1111, "xl": XL[vectors.shape[1] == XL_WIDTH]}
    write_bytes(path, save({keys[layout]: np.ascontiguousarray(vectors, "float32")}, {"format": "pt"}))


def _vectors(tensors, dim):
    """The key and the vectors (n, dim) of a file."""
    names = list(tensors)
    if set(names) <= set(XL):
        names = [name for name in names if tensors.shape(name)[-1:] == (dim,)]
    if len(names) != 1:
        raise ValueError(f"it must hold one word of width {dim}, but has the tensors {list(tensors)[:3]}")
    return names[0], tensors[names[0]]
