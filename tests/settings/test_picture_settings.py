import numpy as np
import pytest

from latentdiff.settings.picture_settings import each_negative_prompt, each_prompt


@pytest.mark.parametrize(
    "given, texts",
    [
        ("a", ["a"]),
        (["a", ""], ["a", ""]),
        (("a", "b"), ["a", "b"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array(["a", "b"], object), ["a", "b"]),
    ],
)
def test_prompts(given, texts):
    assert each_prompt(given) == texts


@pytest.mark.parametrize("given", [None, [], np.array([], str), 3, [3], ["a", None], b"a", [b"a"], np.array("a")])
def test_prompts_that_are_none(given):
    with pytest.raises(ValueError, match="`prompts` must be a str or a list of at least one str. Received: prompts="):
        each_prompt(given)


@pytest.mark.parametrize(
    "given, texts",
    [
        (None, ["", ""]),
        ("", ["", ""]),
        ("a", ["a", "a"]),
        (["a", ""], ["a", ""]),
        (np.array(["a", "b"]), ["a", "b"]),
    ],
)
def test_negative_prompts(given, texts):
    assert each_negative_prompt(given, 2) == texts


@pytest.mark.parametrize("given", [3, False, 0.0, [None, "x"], ["x", 3], [["a"], ["b"]], b"ab", [b"a", b"b"]])
def test_negative_prompts_that_are_no_texts(given):
    """None among them is no "", and never the word None."""
    with pytest.raises(ValueError, match="`negative_prompts` must be a str, a list of str or None. Received: neg"):
        each_negative_prompt(given, 2)


@pytest.mark.parametrize("given", [[], ["a"], np.array([], str), np.array(["a"]), ["a", "b", "c"]])
def test_negative_prompts_for_other_prompts(given):
    message = f"`negative_prompts` must be one value or one for each of the 2 prompts. Received: {len(given)}"
    with pytest.raises(ValueError, match=message):
        each_negative_prompt(given, 2)
