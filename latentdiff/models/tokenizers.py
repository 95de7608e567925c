"""What the tokenizers of KerasHub differ in, in one form: special tokens, rows of ids, text of ids."""

import re

import numpy as np

BLANK = re.compile(r"[^\S\x1c-\x1f]*")  # these four are white space in Python alone


def special_id(tokenizer, *names):
    """The first of these attributes that a tokenizer has, or None."""
    return next((getattr(tokenizer, name) for name in names if getattr(tokenizer, name, None) is not None), None)


def token_ids(tokenizer, texts):
    """Token ids of each text, without marks: a list of lists.

    Raises:
        ValueError: a tokenizer without its vocabulary.
    """
    _check_vocabulary(tokenizer)
    # All at once, since a call costs more than a text; but for empty strings, which some tokenizers can't take.
    said = [text for text in texts if not BLANK.fullmatch(text)]
    rows = tokenizer(said) if said else []
    rows = iter(rows.to_list() if hasattr(rows, "to_list") else rows)
    return [[int(token) for token in next(rows)] if not BLANK.fullmatch(text) else [] for text in texts]


def chunks_of(ids, start_id, end_id, pad_id, shape):
    """Token ids cut into chunks, each with marks of its own and padding; a chunk without tokens is padding alone.

    Args:
        ids: list of token ids without marks, no more than fit.
        start_id, end_id: the marks, or None.
        pad_id: fills the rest.
        shape: (chunks, tokens of each, marks included).

    Returns:
        int32 array of that shape.
    """
    chunks = np.full(shape, pad_id, "int32")
    start, end = ([] if mark is None else [mark] for mark in (start_id, end_id))
    room = shape[1] - len(start) - len(end)
    for index, first in enumerate(range(0, max(len(ids), 1), room)):
        chunk = [*start, *ids[first : first + room], *end]
        chunks[index, : len(chunk)] = chunk
    return chunks


def text_of(tokenizer, ids):
    """The text of token ids."""
    text = tokenizer.detokenize(ids)
    text = text.numpy() if hasattr(text, "numpy") else text
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


def _check_vocabulary(tokenizer):
    """Configs hold no vocabulary, so that a copy made of one alone, as by `keras.models.clone_model`, has none."""
    try:
        tokenizer.vocabulary_size()
    except ValueError as error:
        raise ValueError(
            "`tokenizer` must have its vocabulary, which no config holds: set `text_encoder.tokenizer` to that of the "
            "model that the config is of. Received: a tokenizer without vocabulary"
        ) from error
