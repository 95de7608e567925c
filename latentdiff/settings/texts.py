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
    if not isinstance(value, (str, bytes)):
        raise TypeError(f"a text must be str or bytes. Received: {value!r}")
    text = value.decode("utf-8") if isinstance(value, bytes) else str(value)
    text.encode("utf-8")  # a lone surrogate can't be written
    return text
