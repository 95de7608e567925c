"""KerasHub tokenizers as a `tokenizer.json`, the format of the `tokenizers` library, which Python, Rust and JavaScript
programs read without Keras."""

import keras_hub

SPACE = r"[ \t\n\r\f]|\p{Cc}|\p{Cf}"
PUNCTUATION = r"[!-/]|[:-@]|[\[-`]|[{-~]|\p{P}"
CJK = r"[\u4E00-\u9FFF]|[\u3400-\u4DBF]|[\uF900-\uFAFF]"
# Where Unicode's case folding, which KerasHub applies, is not its lower case, and what folding drops: the selectors
# between black and coloured emoji.
FOLDED = {"ß": "ss", "ς": "σ"}
DROPPED = r"[\uFE00-\uFE0F]"
CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def tokenizer_json(tokenizer):
    """A KerasHub tokenizer as a JSON value.

    It gives the same tokens, except for the rare characters whose compatible form has several characters, such as one
    for three dots: KerasHub splits words before it replaces them, the `tokenizers` library after.

    Raises:
        ValueError: a tokenizer that is neither a `WordPieceTokenizer` (BERT and its relatives) nor a `CLIPTokenizer`.
    """
    if isinstance(tokenizer, keras_hub.tokenizers.WordPieceTokenizer):
        return _word_piece(tokenizer)
    if isinstance(tokenizer, keras_hub.models.CLIPTokenizer):
        return _clip(tokenizer)
    raise ValueError(
        "The tokenizer must be a KerasHub WordPieceTokenizer or CLIPTokenizer, other kinds have no edge runtime. "
        f"Received: {type(tokenizer).__name__}"
    )


def _word_piece(tokenizer):
    model = {
        "type": "WordPiece",
        "unk_token": tokenizer.oov_token,
        "continuing_subword_prefix": tokenizer.suffix_indicator,
        "max_input_chars_per_word": 100,
        "vocab": {token: index for index, token in enumerate(tokenizer.get_vocabulary())},
    }
    normalizers = []
    if tokenizer.strip_accents:
        normalizers += [{"type": "NFD"}, {"type": "StripAccents"}]
    if tokenizer.lowercase:
        normalizers += [{"type": "NFKC"}, {"type": "Lowercase"}]
        normalizers += [_replace({"String": old}, new) for old, new in FOLDED.items()]
        normalizers += [_replace({"Regex": DROPPED}, "")]
    kept = f"{PUNCTUATION}|{CJK}" if tokenizer.split_on_cjk else PUNCTUATION
    splits = [_split(SPACE, "Removed"), _split(kept, "Isolated")]
    return _json(model, normalizers, splits)


def _clip(tokenizer):
    model = {
        "type": "BPE",
        "unk_token": tokenizer.end_token,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "</w>",
        "fuse_unk": False,
        "vocab": dict(tokenizer.vocabulary),
        "merges": [merge.split(" ") for merge in tokenizer.merges if "#version:" not in merge],
    }
    normalizers = [{"type": "NFC"}, _replace({"Regex": r"\s+"}, " "), {"type": "Lowercase"}]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    marks = [_mark(tokenizer.vocabulary[mark], mark) for mark in (tokenizer.start_token, tokenizer.end_token)]
    return _json(model, normalizers, [_split(CLIP_WORDS, "Removed", invert=True), byte_level], marks)


def _json(model, normalizers, pre_tokenizers, marks=()):
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(marks),
        "normalizer": {"type": "Sequence", "normalizers": normalizers} if normalizers else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": pre_tokenizers},
        "post_processor": None,
        "decoder": None,
        "model": model,
    }


def _mark(token_id, content):
    """A mark that is one token where it stands in a text, too."""
    options = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token_id, "content": content, "special": True, **options}


def _replace(pattern, content):
    return {"type": "Replace", "pattern": pattern, "content": content}


def _split(pattern, behavior, invert=False):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}
