import numpy as np
import pytest
from harness import needs_tensorflow

from latentdiff.settings.texts import as_rows, checked_text

TEXTS = ["a cat", "ein Löwe", ""]


@pytest.mark.parametrize(
    "values",
    [
        TEXTS,
        tuple(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, object),
        [text.encode() for text in TEXTS],
        np.array([text.encode() for text in TEXTS]),
        np.array([text.encode() for text in TEXTS], object),
        list(np.array(TEXTS)),
        iter(TEXTS),
    ],
)
def test_text_of_any_kind_is_a_list_of_str(values):
    texts = as_rows(values, "captions", count=3)
    assert texts == TEXTS and all(type(text) is str for text in texts)


@needs_tensorflow
def test_string_tensors_are_decoded():
    import tensorflow as tf

    assert as_rows(tf.constant(TEXTS), "captions", 3) == TEXTS
    assert as_rows(list(tf.constant(TEXTS)), "captions", 3) == TEXTS


@pytest.mark.parametrize(
    "wrong", [None, float("nan"), 3, ["a", "b"], {}, np.float32("nan"), np.datetime64("2020-01-01")]
)
def test_a_row_that_is_no_text_is_named(wrong):
    for values in (["a", wrong], np.array(["a", wrong], object) if not isinstance(wrong, list) else ["a", wrong]):
        with pytest.raises(ValueError, match="`captions`, row 1, must be text. Received: "):
            as_rows(values, "captions")


@pytest.mark.parametrize("wrong", ["\ud83d", "caf\udce9"])
def test_text_that_is_no_unicode_is_named(wrong):
    with pytest.raises(ValueError, match="`captions`, row 1, must be valid Unicode text"):
        as_rows(["a", wrong], "captions")


def test_nul_is_text_for_a_person_and_none_in_a_file():
    assert as_rows(["a\0b"], "captions") == ["a\0b"]
    with pytest.raises(ValueError, match="a.txt must be valid Unicode text"):
        checked_text("a\0b", "a.txt")


def test_bytes_that_are_no_utf_8_are_named():
    with pytest.raises(ValueError, match="`captions`, row 0, must be valid Unicode text. Received: b'caf"):
        as_rows([b"caf\xe9"], "captions")
    assert checked_text("é".encode(), "x") == "é"


@pytest.mark.parametrize("wrong", ["a cat", b"a cat", 3, None])
def test_one_text_is_not_many(wrong):
    with pytest.raises(ValueError, match="`captions` must be one text for each row"):
        as_rows(wrong, "captions")


@pytest.mark.parametrize("count", [1, 4])
def test_the_number_of_texts_is_checked(count):
    with pytest.raises(ValueError, match=f"`captions` must be one text for each of the {count} rows. Received: 3"):
        as_rows(TEXTS, "captions", count)
