"""The exported tokenizer gives KerasHub's tokens."""

import json

import keras_hub
import numpy as np
import pytest
from golden import clip_words
from harness import GOLDEN

from latentdiff.export.litert.tokenizer_json import tokenizer_json

tokenizers = pytest.importorskip("tokenizers")

TEXTS = [
    "a red apple, 3d",
    "A RED Apple",
    "red-apple/cat: (blue)!",
    "“small” cat’s",
    "GROẞE Straße",
    "café naïve É",
    "cat\u200dcat\tred\napple",
    "❤\ufe0f cat",
    "日本語 cat",
    "Ａpple ﬁ",
    "[CLS] cat [SEP]",
    "c" * 101,
    "",
]


def words():
    letters = [chr(97 + index) for index in range(26)]
    marks = [*",-/:()!“”’[]", "日", "本", "語", "é", "café", "ss", "##ss"]
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "apple", "cat", "##é", *marks, *letters] + [
        f"##{letter}" for letter in letters
    ]


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False])
def test_word_piece(lowercase, strip_accents):
    options = {"lowercase": lowercase, "strip_accents": strip_accents}
    tokenizer = keras_hub.tokenizers.BertTokenizer(vocabulary=words(), **options)
    copy = tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(tokenizer)))
    for text in filter(None, TEXTS):
        assert copy.encode(text).ids == np.asarray(tokenizer(text)).tolist(), text
    assert copy.encode("").ids == []


def test_clip():
    pieces = ["a", "c", "t", "a</w>", "t</w>", "ca", "cat</w>", "!</w>", "r", "e", "d</w>", "re", "red</w>"]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    merges = ["c a", "ca t</w>", "r e", "re d</w>"]
    tokenizer = keras_hub.models.CLIPTokenizer(vocabulary=vocabulary, merges=merges)
    copy = tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(tokenizer)))
    for text in ["a red cat!", "Cat  RED", "a\tcat"]:
        expected = np.asarray(tokenizer(text)).tolist()
        assert copy.encode(text).ids == expected, text


def test_clip_as_transformers_has_it():
    """The token ids of the reference for a thousand strings, with marks, emoji and decomposed letters."""
    tokenizer = keras_hub.models.CLIPTokenizer(clip_words.vocabulary(), clip_words.MERGES, pad_with_end_token=True)
    copy = tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(tokenizer)))
    with np.load(GOLDEN / "stable_diffusion.npz") as file:
        expected = np.split(file["fuzz/ids"], np.cumsum(file["fuzz/lengths"])[:-1])
    for text, ids in zip(clip_words.strings(), expected, strict=True):
        assert copy.encode(text, add_special_tokens=False).ids == ids.tolist(), ascii(text)


def test_other_tokenizers():
    with pytest.raises(ValueError, match="ByteTokenizer"):
        tokenizer_json(keras_hub.tokenizers.ByteTokenizer())
