"""What a PNG holds of the request that made it: the package's own record, and the text that other programs read."""

import json

from latentdiff.data.images import encode_png, read_settings
from latentdiff.settings import parameters
from latentdiff.settings.table import SETTINGS

ROWS = {row.key: row for row in SETTINGS.values()}


def to_png(image, record):
    """PNG bytes of one uint8 image (height, width, 3) with its record, see `Request.record`, in it."""
    return encode_png(image, {**record, parameters.CHUNK: parameters.to_parameters(record, image.shape[:2])})


def from_png(path):
    """The settings in a PNG: of this package's record, else of the text of other programs.

    Returns:
        settings: dict by the keys of the table, and what else the record has.
        others: dict of what has no counterpart here, see `parameters.from_parameters`.

    Raises:
        ValueError: no PNG, or one without settings.
    """
    texts = read_settings(path)
    foreign = texts.pop(parameters.CHUNK, None)
    if "prompt" in texts and "seed" in texts:
        return {name: _decoded(name, text) for name, text in texts.items()}, {}
    if foreign is None:
        raise ValueError(f"{path} has no settings of an image in it")
    return parameters.from_parameters(foreign)


def _decoded(name, text):
    """The value that `to_png` wrote as this text; the text itself where it is none."""
    try:
        return json.loads(text) if name in ROWS and ROWS[name].kind is not str else text
    except (ValueError, RecursionError):
        return text
