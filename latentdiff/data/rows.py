"""One row of data: an image that is not decoded yet, its caption, and all else that is known of it."""

import pathlib
from typing import NamedTuple

from latentdiff.settings.texts import checked_text


class Row(NamedTuple):
    """An image that is not decoded yet: its name in messages, its bytes or its path, caption and other columns."""

    name: str
    image: bytes | pathlib.Path
    caption: str
    record: dict


def make_row(name, image, record, where=None):
    """A `Row` of a record with a `caption` (or `text`), which is literal text: nothing in it is prompt syntax.

    Raises:
        ValueError: the caption is missing or empty, or a text is no Unicode; the message says where.
    """
    where = where or name
    key = "caption" if "caption" in record else "text"
    caption = record.pop(key, None)
    if not isinstance(caption, str | bytes):
        raise ValueError(f"`caption` (or `text`) must be a string. Received: {key}={caption!r} in {where}")
    caption = checked_text(caption, f"`{key}` in {where}").strip()
    if not caption:
        raise ValueError(f"`caption` (or `text`) must not be empty. Received: {key}={caption!r} in {where}")
    for column, value in record.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                checked_text(text, f"`{column}` in {where}")
    return Row(name, image, caption, record)


def shorten(names, shown=5):
    """The number of names and the first few of them, for messages."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{len(names)} file(s): {', '.join(map(str, names[:shown]))}{more}"
