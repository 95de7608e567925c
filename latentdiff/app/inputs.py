"""From what a page's fields hold to settings, images and adapters. Nothing here knows the page's library."""

import math

import numpy as np
from PIL import Image

from latentdiff.data.images import crop, to_rgb
from latentdiff.settings.table import NUM_STEPS


def read_fields(rows, values):
    """Settings by name from the fields of the page; what is empty is left out.

    Args:
        rows: of the table of settings.
        values: dict of their names to what the fields hold: bool, or texts, of an interval its two numbers.

    Raises:
        ValueError: a text that means no value of its row.
    """
    settings = {row.name: _read(row, values.get(row.name)) for row in rows}
    return {name: value for name, value in settings.items() if value is not None}


def check_settings(rows, settings, arrays):
    """Raises ValueError for a prompt that is empty, and for settings that need an image or a mask that is not there."""
    if not settings.get("prompts", "").strip():
        raise ValueError("The prompt must not be empty.")
    for row in rows:
        if row.needs not in (None, *arrays) and settings.get(row.name) not in (None, row.default):
            raise ValueError(f"`{row.name}` needs {'an image' if row.needs == 'images' else 'a painted mask'}.")


def to_field(row, value):
    """What the field of a row shows for a value, such as that of a PNG; None for a value that is none of the row."""
    try:
        value = row.check(value)
    except ValueError:
        return None
    if row.kind is bool:
        return value
    return " ".join(f"{edge:g}" for edge in value) if row.kind is tuple else str(value)


def read_text(row, text):
    """The value that a text means for a row, with the name of the row in the error."""
    try:
        return row.check(_numbers(text)) if row.kind is tuple else row.parse(text if row.kind is str else text.strip())
    except ValueError as error:
        raise ValueError(f"`{row.name}` {error}. Received: {text!r}") from error


def check_count(num_images, max_images):
    """Raises ValueError for more images than the app draws at once."""
    if num_images > max_images:
        raise ValueError(f"At most {max_images} images at once. Received: {num_images}")


def check_steps(request, max_steps):
    """Raises ValueError for a `Request` of more steps than the app takes; a server bounds its own default."""
    most = max(steps or 0 for steps in request[NUM_STEPS.name])
    if most > max_steps:
        raise ValueError(f"`num_steps` must be at most {max_steps} here. Received: {most}")


def read_editor(value, image_size):
    """The images and masks in an image editor, for `generate`, as a dict.

    Args:
        value: None, or dict of `background`, uint8 (height, width, 4) or None, and `layers`, a list of such arrays
            that are painted where their alpha is above 0.
        image_size: (height, width) to which the centre is cropped and resized.
    """
    background = None if value is None else value.get("background")
    if background is None:
        return {}
    arrays = {"images": crop(to_rgb(Image.fromarray(background)), image_size)}
    painted = [layer[..., 3] > 0 for layer in value.get("layers") or () if layer.shape[:2] == background.shape[:2]]
    if any(mask.any() for mask in painted):
        mask = np.any(painted, axis=0).astype("uint8") * 255
        arrays["masks"] = crop(Image.fromarray(mask).convert("RGB"), image_size)[..., 0] > 0
    return arrays


def read_adapters(files, scales):
    """A list of (path, scale) of LoRA files and a text of scales: none for 1, one for all, or one each."""
    numbers = _numbers(scales or "") or [1.0]
    if len(numbers) not in (1, len(files or ())) or not all(map(math.isfinite, numbers)):
        raise ValueError(f"The scales must be one number, or one for each LoRA file. Received: {scales!r}")
    numbers = numbers * len(files or ()) if len(numbers) == 1 else numbers
    return list(zip(files or (), numbers, strict=True))


def _read(row, value):
    if value is None or value == "":
        return None
    return value if row.kind is bool else read_text(row, value)


def _numbers(text):
    try:
        return [float(word) for word in text.replace(",", " ").split()]
    except ValueError as error:
        raise ValueError(f"must be numbers. Received: {text!r}") from error
