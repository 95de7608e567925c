import warnings

import numpy as np
import pytest
from harness import first_fast, needs_tensorflow
from models.test_text_encoder import FAMILIES

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


@pytest.mark.parametrize("family", sorted(SMALL_VOCABULARIES))
def test_a_tokenizer_that_differs_in_a_graph(family):
    """CLIP's does for characters that its vocabulary lacks; the real one has them all."""
    with pytest.raises(ValueError, match="`token_ids` must be True, since this tokenizer gives other ids in a graph"):
        graph_tokenizer(FAMILIES[family](8))
