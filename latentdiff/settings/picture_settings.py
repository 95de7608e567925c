"""Checks of what is asked of each picture: one value for all pictures or one for each, numbers in range, sizes."""

import operator
import secrets

import numpy as np

MAX_SEED = 2**31 - 1  # noise.MAX_SEED, which comes with Keras; `client` does without


def each_prompt(prompts):
    """A prompt, or several -> list of str."""
    texts = _texts(prompts)
    if not texts:
        raise ValueError(f"`prompts` must be a str or a list of at least one str. Received: prompts={prompts!r}")
    return texts


def each_negative_prompt(negative_prompts, count):
    """What to steer away from for each of `count` prompts -> list of str: one for all, one for each, or None."""
    texts = [""] if negative_prompts is None else _texts(negative_prompts)
    if texts is None:
        raise ValueError(
            f"`negative_prompts` must be a str, a list of str or None. Received: negative_prompts={negative_prompts!r}"
        )
    if negative_prompts is None or isinstance(negative_prompts, str):
        return texts * count
    if len(texts) != count:
        raise ValueError(
            f"`negative_prompts` must be one value or one for each of the {count} prompts. Received: {len(texts)}"
        )
    return texts


def _texts(value):
    """A str, or several in a list or array -> list of str; None for anything else."""
    if isinstance(value, str):
        return [value]
    texts = list(value) if np.iterable(value) else [value]
    return texts if all(isinstance(text, str) for text in texts) else None


def each_seed(seed, count, num_images):
    """The seeds of `num_images` pictures for each of `count` prompts, int array: successive ones, or fresh for None."""
    if seed is None:
        return np.array([secrets.randbelow(MAX_SEED) for _ in range(count * num_images)])
    seeds = np.repeat(each(seed, count, "seed", operator.index), num_images) + np.tile(np.arange(num_images), count)
    check_range(seeds, 0, MAX_SEED, "seed")
    return seeds


def each(value, count, name, convert):
    """`value` for each of `count` prompts: repeated if it is one, checked for length if it is many."""
    if isinstance(value, (str, bytes)) or np.ndim(value) == 0:
        value = [value] * count
    if len(value) != count:
        raise ValueError(f"`{name}` must be one value or one for each of the {count} prompts. Received: {len(value)}")
    try:
        return np.array([convert(entry) for entry in value])
    except TypeError as error:
        raise ValueError(f"`{name}` has a value of the wrong type: {error}. Received: {name}={value}") from error


def check_range(values, low, high, name):
    """Raises ValueError unless all of an array's values lie in [low, high]."""
    wrong = [value for value in values.tolist() if not low <= value <= high]
    if wrong:
        raise ValueError(f"`{name}` must lie in [{low}, {high}]. Received: {name}={wrong[0]}")


def check_batch_size(batch_size):
    """Raises ValueError unless it is an integer of at least 1."""
    if operator.index(batch_size) < 1:
        raise ValueError(f"`batch_size` must be at least 1. Received: batch_size={batch_size}")


def each_array(value, count, name, shape):
    """An array of the given shape, or one for each of `count` prompts -> array (count, *shape)."""
    array = np.asarray(value)
    if array.shape not in (shape, (count, *shape)):
        raise ValueError(
            f"`{name}` must have shape {shape}, or {(count, *shape)} for one of each prompt. "
            f"Received: {name}.shape={array.shape}"
        )
    return np.broadcast_to(array, (count, *shape))


def each_image(images, count, size):
    """Pictures of `size` (height, width), as `Autoencoder.encode` takes them: array (count, height, width, 3)."""
    images = each_array(images, count, "images", (*size, 3))
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f" or not (np.abs(images) <= 1.0).all():
        raise ValueError(
            "`images` must be uint8 in [0, 255] or float in [-1, 1]. "
            f"Received: {images.dtype} in [{images.min()}, {images.max()}]"
        )
    return images.astype("float32")


def each_mask(masks, count, size):
    """Masks of `size` (height, width), True where something is to be done: bool (count, height, width)."""
    masks = each_array(masks, count, "masks", tuple(size))
    if masks.dtype != bool and not np.isin(masks, (0, 1)).all():
        raise ValueError(
            "`masks` must be bool, or 0 and 1: True where the picture is painted anew. "
            f"Received: {masks.dtype} in [{masks.min()}, {masks.max()}]"
        )
    return masks.astype(bool)


def parts(inputs, needed, optional=()):
    """The checked entries of a dict of inputs; those of `optional` that are missing are None."""
    names = inputs.keys() if isinstance(inputs, dict) else ()
    if not set(needed) <= set(names) or not set(names) <= {*needed, *optional}:
        received = sorted(map(str, names)) if isinstance(inputs, dict) else type(inputs).__name__
        raise ValueError(
            f"`inputs` must be a dict with the keys {list(needed)} and perhaps {list(optional)}. Received: {received}"
        )
    return [inputs.get(name) for name in (*needed, *optional)]
