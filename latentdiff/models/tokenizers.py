"""What the tokenizers of KerasHub differ in, in one form: special tokens, rows of ids, text of ids."""

import re

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
