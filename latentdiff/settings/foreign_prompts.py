"""Prompts in the syntax of Stable Diffusion web UI and its relatives.

`(text)` counts 1.1 times as much there, `[text]` 1 / 1.1 times, `(text:1.3)` 1.3 times; a backslash takes the meaning
from a bracket, and `a :0.7 AND b :0.3` is a mixture. What square brackets do besides (`[a|b]`, `[a:b:10]`) is not
known here: it is read as text.
"""

import re

from latentdiff.settings.prompt_syntax import escape, parse
from latentdiff.settings.table import MAX_PROMPT_BYTES

ROUND = 1.1
TOKEN = re.compile(r"\\[()\[\]\\]|[(\[\])]|:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)|[^\\()\[\]:]+|.", re.DOTALL)
NUMBER = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*")


def to_foreign(prompt):
    """A prompt of this package, see `prompt_syntax`, in that syntax: the same words with the same weights."""
    parts = parse(prompt)
    texts = ["".join(_grouped(*piece) for piece in part.pieces) for part in parts]
    if len(parts) == 1:
        return texts[0]
    return " AND ".join(f"{text} :{_number(part.share)}" for text, part in zip(texts, parts, strict=True))


def from_foreign(prompt):
    """The inverse of `to_foreign`; weights are rounded to six digits and bounded to [0, 10].

    Raises:
        ValueError: a prompt of more than `MAX_PROMPT_BYTES`.
    """
    if (size := len(prompt.encode("utf-8", "replace"))) > MAX_PROMPT_BYTES:
        raise ValueError(f"`prompt` must have at most {MAX_PROMPT_BYTES} bytes. Received: {size} bytes")
    texts = re.split(r"\bAND\b", prompt)
    if len(texts) == 1:
        return _written(prompt)
    return " | ".join(f"{_written(text.strip())}:{share}" for text, share in map(_share, texts))


def _share(text):
    """A part of a mixture and its share as text; 1 where it says none."""
    head, _, tail = text.rpartition(":")
    number = NUMBER.fullmatch(tail)
    return (head, number[1]) if head and number else (text, "1")


def _grouped(text, weight):
    text = re.sub(r"([()\[\]\\])", r"\\\1", text)
    return text if weight == 1.0 else f"({text}:{_number(weight)})"


def _written(foreign):
    """A prompt without mixtures in the syntax of this package, with backslashes only where they are needed."""
    pieces = _pieces(foreign)
    plain = "".join(text for text, _ in pieces)
    if all(weight == 1.0 for _, weight in pieces):
        return plain if [part.text for part in _parsed(plain)] == [plain] else escape(plain)
    return "".join(escape(text) if weight == 1.0 else f"({escape(text)}:{_number(weight)})" for text, weight in pieces)


def _parsed(text):
    try:
        return parse(text)
    except ValueError:
        return []


def _pieces(foreign):
    """List of [text, weight]. A bracket that is not closed counts for the rest, one that was not opened is text."""
    pieces, opened = [], []
    for token in TOKEN.finditer(foreign):
        text, weight = token[0], token[1]
        closes = {"(": ")", "[": "]"}.get(opened[-1][0]) if opened else None
        if text in ("(", "["):
            opened.append((text, len(pieces)))
        elif weight is not None and closes == ")":
            _scale(pieces, opened.pop()[1], float(weight))
        elif text == closes:
            _scale(pieces, opened.pop()[1], ROUND if text == ")" else 1.0 / ROUND)
        else:
            pieces.append([text[1:] if len(text) == 2 and text[0] == "\\" else text, 1.0])
    for bracket, place in opened:
        _scale(pieces, place, ROUND if bracket == "(" else 1.0 / ROUND)
    return _joined(pieces)


def _scale(pieces, start, factor):
    for piece in pieces[start:]:
        piece[1] *= factor


def _joined(pieces):
    """Neighbours of the same weight as one."""
    joined = []
    for text, weight in pieces:
        weight = min(max(round(weight, 6), 0.0), 10.0)
        if joined and joined[-1][1] == weight:
            joined[-1][0] += text
        else:
            joined.append([text, weight])
    return joined


def _number(weight):
    """Without an exponent, which the others do not read."""
    return f"{weight:.6f}".rstrip("0").rstrip(".")
