"""Texts as people hand them in: str, bytes, arrays and tensors of either."""


def as_texts(value, name):
    """One text or many, as a list of str.

    Args:
        value: str or bytes (UTF-8), or a list, tuple, array or eager tensor of those.
        name: of the argument, for errors.

    Raises:
        ValueError: something else, also inside the list; the row is named. Bytes that are not UTF-8, and str that no
            encoding can write (a lone surrogate).
    """
    value = value.numpy() if hasattr(value, "numpy") else value
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, (str, bytes)):
        value = [value]
    if isinstance(value, (dict, set)) or not hasattr(value, "__iter__"):
        raise ValueError(f"`{name}` must be a str or a list of str. Received: {name}={value!r}")
    texts = []
    for row, entry in enumerate(value):
        try:
            texts.append(as_text(entry))
        except (TypeError, UnicodeError) as error:
            raise ValueError(f"`{name}` must be valid Unicode text. Received: {name}[{row}]={entry!r}") from error
    return texts


def as_text(value):
    """One str or bytes (UTF-8) as str; raises TypeError for anything else, UnicodeError for what is not Unicode."""
    value = value.numpy() if hasattr(value, "numpy") else value
    if not isinstance(value, (str, bytes)):
        raise TypeError(f"a text must be str or bytes. Received: {value!r}")
    text = value.decode("utf-8") if isinstance(value, bytes) else str(value)
    text.encode("utf-8")  # a lone surrogate can't be written
    return text


def as_rows(values, name, count=None):
    """Texts of many rows, such as captions, as a list of str.

    Args:
        values: list, tuple, array or eager tensor of str or bytes (UTF-8), one for each row.
        name: of the argument, for errors.
        count: number of rows that there must be, where it is known.

    Raises:
        ValueError: one text in place of many, another number of them, or a row that is no text; names the row.
    """
    values = values.numpy() if hasattr(values, "numpy") else values
    values = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(values, (str, bytes, dict, set)) or not hasattr(values, "__iter__"):
        raise ValueError(f"`{name}` must be one text for each row, in a list. Received: {name}={values!r}")
    values = list(values)
    if count is not None and len(values) != count:
        raise ValueError(f"`{name}` must be one text for each of the {count} rows. Received: {len(values)} of them")
    return [checked_text(value, f"`{name}`, row {row},", nul=True) for row, value in enumerate(values)]


def checked_text(value, where, nul=False):
    """One str or bytes (UTF-8) as str; else a ValueError that begins with `where`.

    In a file `nul` is no text: UTF-16 that is read as UTF-8 has it.
    """
    try:
        text = as_text(value)
    except TypeError as error:
        raise ValueError(f"{where} must be text. Received: {value!r}") from error
    except UnicodeError as error:
        raise ValueError(f"{where} must be valid Unicode text. Received: {value[:60]!r}") from error
    if "\0" in text and not nul:
        raise ValueError(f"{where} must be valid Unicode text. Received: {text[:60]!r}")
    return text
