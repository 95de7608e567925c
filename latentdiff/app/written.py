"""The settings of an image as a command line and as Python, to be copied."""

import shlex

from latentdiff.settings.table import SETTINGS

LOADERS = {"images": "load_picture", "masks": "load_mask"}
EDITING = {"images": "--init-image", "masks": "--mask"}


def as_command(model, record, inputs=(), adapters=()):
    """The command that makes an image again.

    Args:
        model: the `Model`.
        record: of the image, see `Request.record`.
        inputs: names of what it was made from, "images" and "masks"; their files are for the reader to name.
        adapters: list of (path, scale).
    """
    words = [*model.command, record["prompt"]]
    for row in _said(model, record):
        value = record[row.key]
        values = [] if row.kind is bool else [f"{edge:g}" for edge in value] if row.kind is tuple else [value]
        words += [f"--{row.key.replace('_', '-')}", *map(str, values)]
    options = EDITING if model.adapt else {"images": "--image", "masks": "--mask"}
    words += [word for name in inputs for word in (options[name], f"{name.upper()}.png")]
    words += [word for path, scale in adapters for word in ("--lora", f"{path}:{scale:g}")]
    return shlex.join(words)


def as_python(model, record, inputs=(), adapters=()):
    """The same in Python; the arguments are those of `as_command`."""
    loads = [f"model.load_lora({path!r}, {scale!r})" for path, scale in adapters]
    settings = [f"{row.name}={_literal(row, record[row.key])}" for row in _said(model, record)]
    settings += [f"{name}={name}" for name in inputs]
    call = f"image = model.generate({', '.join([repr(record['prompt']), *settings])})"
    return "\n".join([*_opening(model, inputs), *loads, call])


def _opening(model, inputs):
    """Lines that make the model and read its inputs."""
    if not inputs:
        return [model.opening]
    names = ", ".join(LOADERS[name] for name in inputs)
    kind = "Inpaint" if "masks" in inputs else "ImageToImage"
    opening = model.opening.replace("TextToImage", kind)
    reads = [f"{name} = {LOADERS[name]}({f'{name.upper()}.png'!r}, {model.image_size})" for name in inputs]
    return [f"from latentdiff.data.images import {names}", opening, *reads]


def _said(model, record):
    """Rows of what a record says beside its prompt and the defaults, without what no option can say."""
    told = [row for row in SETTINGS.values() if row.name != "prompts" and row.key in record]
    default = {row.name: row.to_json(model.defaults.get(row.name, row.default)) for row in told}
    return [row for row in told if record[row.key] != default[row.name] and not isinstance(record[row.key], dict)]


def _literal(row, value):
    return repr(tuple(value)) if row.kind is tuple else repr(value)
