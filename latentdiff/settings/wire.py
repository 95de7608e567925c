"""A request as a served model takes it: one tensor per setting, one row per image."""

from latentdiff.settings.table import SETTINGS, SIZES, UNSET

# The rows of the table that are inputs of every served model; those of `SIZES` are inputs of some.
SERVED = [row for row in SETTINGS.values() if row.each and row.needs is None]
FIRST = ("seeds", "num_steps", "guidance_scale")  # numbers that models of every version take


def to_wire(request):
    """A dict of input name to a list of one value for each image.

    A value that an image does not give is `UNSET`: servers join only requests in which all inputs have as many rows.
    Those of `SIZES` are left out where no image gives one, since not every model has them.

    Raises:
        ValueError: a setting that a served model does not take, prompts with weights, or mixtures.
    """
    for name, row in SETTINGS.items():
        values = request[name] if row.each else (request[name],)
        if row not in (*SERVED, *SIZES) and set(values) - {None, row.default}:
            raise ValueError(f"`{name}` is no input of a served model: it does what it was exported with")
    wire = {}
    sizes = SIZES if any(any(request[row.name]) for row in SIZES) else ()
    for row in (*SERVED, *sizes):
        if row.kind is str:
            pairs = zip(request[row.name], request.parsed[row.name], strict=True)
            wire[row.wire] = [plain_text(*pair, row.name) for pair in pairs]
        else:
            wire[row.wire] = [_value(row, value) for value in request[row.name]]
    return wire


def other_forms(wire):
    """The same request as models with other inputs take it: those that know the sizes of images, those of version 0.1.

    Returns:
        list of dicts like `wire`, without those in which something would be lost.
    """
    unset = {row.wire: [_value(row, None)] * len(wire["seeds"]) for row in SIZES if row.wire not in wire}
    numbers = {row.wire: row for row in (*SERVED, *SIZES) if row.kind is not str}
    newer = [name for name in wire if name in numbers and name not in FIRST]
    loses = any(value != _value(numbers[name], None) for name in newer for value in wire[name])
    fewer = {name: values for name, values in wire.items() if name not in newer}
    return [{**wire, **unset}] * bool(unset) + [fewer] * (not loses)


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
