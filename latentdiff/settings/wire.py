"""A request as a served model takes it: one tensor per setting, one row per image."""

from latentdiff.settings.table import SETTINGS, UNSET

# The rows of the table that are inputs of a served model.
SERVED = [row for row in SETTINGS.values() if row.each and row.needs is None]
FIRST = ("seeds", "num_steps", "guidance_scale")  # numbers that models of every version take


def to_wire(request):
    """A dict of input name to a list of one value for each image.

    A value that an image does not give is `UNSET`: servers join only requests in which all inputs have as many rows.

    Raises:
        ValueError: a setting that a served model does not take, prompts with weights, or mixtures.
    """
    for name, row in SETTINGS.items():
        values = request[name] if row.each else (request[name],)
        if row not in SERVED and set(values) - {None, row.default}:
            raise ValueError(f"`{name}` is no input of a served model: it does what it was exported with")
    wire = {}
    for row in SERVED:
        if row.kind is str:
            pairs = zip(request[row.name], request.parsed[row.name], strict=True)
            wire[row.wire] = [plain_text(*pair, row.name) for pair in pairs]
        else:
            wire[row.wire] = [_value(row, value) for value in request[row.name]]
    return wire


def for_older_model(wire):
    """The rows without the inputs that no model of version 0.1 takes; None where one of these says something."""
    newer = [row for row in SERVED if row.kind is not str and row.wire not in FIRST]
    if any(value != _value(row, None) for row in newer for value in wire[row.wire]):
        return None
    return {name: values for name, values in wire.items() if name not in {row.wire for row in newer}}


def plain_text(prompt, parts, name="prompts"):
    """The words of a prompt with these parsed parts, without backslashes; ValueError for weights and mixtures."""
    if len(parts) > 1 or parts[0].weighted:
        raise ValueError(
            f"`{name}` must have neither weights nor mixtures, which a server can't do; with a backslash in front, "
            f"( ) | : are plain characters. Received: {prompt!r}"
        )
    return parts[0].text


def _value(row, value):
    unset = [UNSET] * row.shape[0] if row.shape else UNSET
    return unset if value is None else row.to_json(value)
