"""Text that comes from outside: strings, bytes, arrays and tensors of them. On the standard library alone."""


def as_text(value, where):
    """One str or bytes (UTF-8) as str.

    Args:
        value: str or bytes, numpy's kinds of them, or a string tensor of one.
        where: what the text is, for the message, such as "`captions`, row 3,".

    Raises:
        ValueError: it is neither, or no valid Unicode; the message begins with `where`.
    """
    value = value.numpy() if hasattr(value, "numpy") else value
    if isinstance(value, bytes | bytearray):
        try:
            value = bytes(value).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{where} must be text in UTF-8. Received: {bytes(value)[:60]!r}") from error
    if not isinstance(value, str):
        raise ValueError(f"{where} must be text. Received: {value!r}")
    if not is_unicode(value):
        raise ValueError(f"{where} must be valid Unicode text. Received: {value[:60]!r}")
    return str(value)


def is_unicode(text):
    """Whether a str holds characters only: no lone surrogates, and no NUL, which UTF-16 read as UTF-8 is full of."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def as_texts(values, name, count=None):
    """Texts of many rows as a list of str.

    Args:
        values: list, tuple, array or string tensor of str or bytes (UTF-8), one for each row.
        name: of the argument, for messages.
        count: number of rows that there must be, where it is known.

    Raises:
        ValueError: one text in place of many, another number of them, or a row that is no text; names the row.
    """
    if isinstance(values, str | bytes | bytearray):
        raise ValueError(f"`{name}` must be one text for each row, in a list. Received: {name}={values!r}")
    values = values.numpy() if hasattr(values, "numpy") else values
    values = values.tolist() if hasattr(values, "tolist") else values
    try:
        values = list(values)
    except TypeError as error:
        raise ValueError(f"`{name}` must be one text for each row. Received: {name}={values!r}") from error
    if count is not None and len(values) != count:
        raise ValueError(f"`{name}` must be one text for each of the {count} rows. Received: {len(values)} of them")
    return [as_text(value, f"`{name}`, row {row},") for row, value in enumerate(values)]
