import warnings

import keras_hub
import numpy as np
import pytest
from golden import clip_words
from harness import GOLDEN, first_fast, needs_tensorflow
from models.test_text_encoder import FAMILIES

from latentdiff import TextEncoder
from latentdiff.export.saved_model.graph_tokenizer import graph_tokenizer

pytestmark = needs_tensorflow

TEXTS = [
    "",
    " ",
    "\t\n",
    "red",
    "Red CAT!",
    "café",
    "猫 cat",
    "a-b_c",
    "[SEP] red",
    "\x00\x01",
    "🙂 cat",
    "the cat the cat the cat the cat the cat",
    "e" * 150,
]


SMALL_VOCABULARIES = {"clip", "clip_zeros"}


@pytest.mark.parametrize("family", first_fast(sorted(set(FAMILIES) - SMALL_VOCABULARIES), 2))
def test_any_tokenizer_is_saved_with_its_tables(family, tmp_path):
    """In a loaded graph it gives the ids that Keras gives, for word pieces, byte pairs and sentence pieces."""
    import tensorflow as tf

    text_encoder = FAMILIES[family](8)
    module = tf.Module()
    module.resources = [text_encoder.tokenizer]
    module.tokenize = graph_tokenizer(text_encoder)
    tf.saved_model.save(module, str(tmp_path))
    token_ids, lost = tf.saved_model.load(str(tmp_path)).tokenize(tf.constant(TEXTS))
    for text, row, count in zip(TEXTS, token_ids, lost, strict=True):
        with warnings.catch_warnings(record=True) as cut:
            warnings.simplefilter("always")
            np.testing.assert_array_equal(row, text_encoder.tokenize([text])[0], err_msg=repr(text))
        assert bool(cut) == (count > 0), text


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(SMALL_VOCABULARIES))
def test_a_tokenizer_that_differs_in_a_graph(family):
    """CLIP's does for characters that its vocabulary lacks; the real one has them all."""
    with pytest.raises(ValueError, match="`token_ids` must be True, since this tokenizer gives other ids in a graph"):
        graph_tokenizer(FAMILIES[family](8))


# === CLIP, with a vocabulary that has every byte ===


@pytest.fixture(scope="module")
def clip():
    """A `TextEncoder`, and the token ids that CLIP's tokenizer in transformers gives for 1,000 strings."""
    tokenizer = keras_hub.models.CLIPTokenizer(clip_words.vocabulary(), clip_words.MERGES, pad_with_end_token=True)
    backbone = keras_hub.models.CLIPTextEncoder(tokenizer.vocabulary_size(), 4, 4, 1, 1, 4)
    text_encoder = TextEncoder(backbone, tokenizer, 77, mask_padding=False)
    with np.load(GOLDEN / "stable_diffusion.npz") as file:
        ids = np.split(file["fuzz/ids"], np.cumsum(file["fuzz/lengths"])[:-1])
    rows = np.full((len(ids), 77), text_encoder.end_id)
    rows[:, 0] = text_encoder.start_id
    for row, values in zip(rows, ids, strict=True):
        row[1 : 1 + min(len(values), 75)] = values[:75]
    return text_encoder, rows


@pytest.mark.filterwarnings("ignore:The prompt .* was cut")
def test_clip_in_python(clip):
    text_encoder, expected = clip
    np.testing.assert_array_equal(text_encoder.tokenize(clip_words.strings()), expected)


@pytest.mark.filterwarnings("ignore:The prompt .* was cut")
def test_clip_in_a_graph(clip):
    text_encoder, expected = clip
    token_ids, _ = graph_tokenizer(text_encoder)(clip_words.strings())
    np.testing.assert_array_equal(token_ids, expected)


@pytest.mark.filterwarnings("ignore:The prompt .* was cut")
@pytest.mark.parametrize("family", ["clip", "bert"])
def test_chunks_in_a_graph(family, clip):
    """Prompts of one to three chunks, and longer ones; chunks without tokens are padding alone."""
    text_encoder = FAMILIES["bert"](8) if family == "bert" else clip[0]
    parts = text_encoder.backbone, text_encoder.tokenizer
    text_encoder = TextEncoder(*parts, 8, max_chunks=3, mask_padding=text_encoder.mask_padding)
    texts = [*TEXTS[:9], *("the cat " * count for count in (3, 6, 10))]  # of up to 20 tokens, 18 fit
    token_ids, lost = graph_tokenizer(text_encoder)(texts)
    expected = text_encoder.tokenize(texts)
    np.testing.assert_array_equal(token_ids, expected)
    assert expected.shape == (len(texts), 24) and lost.numpy().tolist() == [0] * 11 + [2]
    assert {len(text_encoder.trim(row[None])[0]) for row in expected} == {8, 16, 24}


@pytest.mark.slow
def test_what_clip_loses_in_a_graph(clip):
    """Two characters, and nothing else of the prompt."""
    tokenize = graph_tokenizer(clip[0])
    given, left = tokenize(["the\0cat ६ red", "the cat red"])[0]
    np.testing.assert_array_equal(given, left)


# === New words ===


@pytest.mark.parametrize("family", first_fast(["bert", "clip_bytes"], 2))
def test_new_words_in_a_graph(family, clip):
    text_encoder = clip[0] if family == "clip_bytes" else FAMILIES["bert"](12)
    try:
        for word, count in (("<x>", 1), ("<x>+", 3), ("glimp-é", 2), ("cat", 1)):
            text_encoder.words.insert(word, np.zeros((count, text_encoder.words.dim)))
        prompts = [
            "a <x> red",
            "<x><x>+ CAT",
            "cats, cat's cat",
            "glimp-é's",
            "",
            " ",
            "<x>",
            "the red",
            "猫<x>猫",
            "x",
        ]
        token_ids, _ = graph_tokenizer(text_encoder)(prompts)
        np.testing.assert_array_equal(token_ids, text_encoder.tokenize(prompts))
        assert (np.asarray(token_ids) >= text_encoder.words.table.input_dim).any(axis=1).sum() >= 6
    finally:
        text_encoder.words.clear()
