import subprocess
import sys

import numpy as np
import pytest

from latentdiff.settings.request import Request
from latentdiff.settings.table import DRAWN_SEEDS, MAX_SEED
from latentdiff.settings.texts import as_texts


def test_one_value_counts_for_all_prompts_and_a_list_for_each():
    request = Request.build(["a", "b"], num_steps=3, guidance_scale=[2, None], seed=np.array([5, 6]))
    assert len(request) == 2
    assert request["num_steps"] == (3, 3) and request["guidance_scale"] == (2.0, None) and request["seed"] == (5, 6)
    assert request["negative_prompts"] == ("", "") and request["sampler"] is None


def test_images_of_a_prompt_take_successive_seeds():
    request = Request.build(["a", "b"], num_images=2, seed=[7, 20])
    assert request["prompts"] == ("a", "a", "b", "b") and request["seed"] == (7, 8, 20, 21)
    with pytest.raises(ValueError, match="`seed` .* must stay within 2147483647. Received: num_images=2"):
        Request.build("a", num_images=2, seed=MAX_SEED)


def test_an_omitted_seed_is_drawn_for_each_prompt():
    request = Request.build(["a", "b", "c"], num_images=2, seed=[None, 4, None])
    first, second = request.drawn
    assert request["seed"] == (first, first + 1, 4, 5, second, second + 1)
    assert all(0 <= seed < DRAWN_SEEDS for seed in request.drawn)
    assert Request.build("a", seed=1).drawn == ()
    assert len({Request.build("a")["seed"] for _ in range(20)}) > 10


def test_prompts_are_parsed_once():
    request = Request.build(["(red:2) apple", "a:1 | b:3"], negative_prompts=["", r"\(x\)"])
    assert [[part.share for part in parts] for parts in request.parsed["prompts"]] == [[1.0], [0.25, 0.75]]
    assert request.parsed["prompts"][0][0].weighted and request.parsed["negative_prompts"][1][0].text == "(x)"


def test_defaults_fill_what_was_left_out():
    request = Request.build(["a", "b"], num_steps=[3, None]).with_defaults({"num_steps": 9, "sampler": "ddim"})
    assert request["num_steps"] == (3, 9) and request["sampler"] == "ddim" and request["guidance_scale"] == (None, None)


def test_rows_and_batches():
    request = Request.build(["a", "b", "c"], seed=[1, 2, 3])
    assert [batch["prompts"] for batch in request.batches(2)] == [("a", "b"), ("c",)]
    assert request.rows(1, 2).parsed["prompts"][0][0].text == "b"


def test_record_of_an_image():
    request = Request.build(["a", "b"], seed=1, strength=0.5, guidance_interval=[(0, 1), (1, float("inf"))])
    known = {"prompt": "b", "negative_prompt": "", "seed": 1, "guidance_interval": [1.0, 1e30]}
    assert request.record(1) == known
    assert request.record(1, ["images"]) == {**known, "strength": 0.5}


def test_a_pair_counts_for_all_prompts():
    request = Request.build(["a", "b"], original_size=np.array([512, 768]), crop_top_left=[None, (0, 5)])
    assert request["original_size"] == ((512, 768), (512, 768)) and request["crop_top_left"] == (None, (0, 5))
    assert request.record(1, ["image_sizes"])["crop_top_left"] == [0, 5]
    assert not {"original_size", "crop_top_left"} & request.record(1).keys()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"num_stps": 3}, "Unknown setting. Did you mean 'num_steps'. Received: 'num_stps'"),
        ({"xyzzy": 3}, "Unknown setting. Known are .*'num_steps'.*Received: 'xyzzy'"),
        ({"seed": [1, 2, 3]}, "`seed` must be one value, or one for each of the 2 prompts. Received: 3 values"),
        ({"num_steps": [3, 0]}, "`num_steps` must be a whole number of at least 1. Received: num_steps=0"),
        ({"num_images": True}, "`num_images` must be a whole number of at least 1. Received: num_images=True"),
        ({"negative_prompts": "a:1 | b"}, "`negative_prompts` has a mixture with a part that has no weight, 'b'"),
        ({"guidance_interval": [(0, 1), (2, 1)]}, "`guidance_interval` must be an interval"),
        ({"target_size": [(1, 1), (2, 0)]}, r"`target_size` must be two whole numbers from 1 .*target_size=\(2, 0\)"),
    ],
)
def test_what_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Request.build(["a", "b"], **settings)


@pytest.mark.parametrize("prompt", ["wall clock (10:45)", "poster | ratio 2:1"])
def test_a_prompt_that_cannot_be_parsed_says_how_to_write_it(prompt):
    with pytest.raises(ValueError, match="to take the text as it stands, write ") as refused:
        Request.build(prompt)
    literal = str(refused.value).partition("write '")[2].partition("'. Received")[0].replace("\\\\", "\\")
    assert Request.build(literal).parsed["prompts"][0][0].text == prompt


def test_hostile_prompts_are_refused_at_once():
    for prompt in ("(" * 1500 + "a" + ":2)" * 1500, "x" * 10**7):
        with pytest.raises(ValueError, match="nested more than 20 deep|must have at most 10000 bytes"):
            Request.build(prompt)


# === Texts ===


@pytest.mark.parametrize(
    "given, texts",
    [
        ("a", ["a"]),
        (b"caf\xc3\xa9", ["café"]),
        (("a", b"b"), ["a", "b"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([b"a", b"b"], object), ["a", "b"]),
        (np.array("a"), ["a"]),
        ([], []),
    ],
)
def test_texts(given, texts):
    assert as_texts(given, "captions") == texts


@pytest.mark.parametrize("given", [None, 3, {"a": 1}, {"a"}])
def test_what_holds_no_texts(given):
    with pytest.raises(ValueError, match="`captions` must be a str or a list of str. Received: captions="):
        as_texts(given, "captions")


@pytest.mark.parametrize("entry", [None, float("nan"), 3, b"caf\xe9", "\ud83d", ["a"]])
def test_the_row_that_is_no_text_is_named(entry):
    with pytest.raises(ValueError, match=r"`captions` must be valid Unicode text. Received: captions\[1\]="):
        as_texts(["a", entry], "captions")


def test_the_standard_library_is_enough():
    code = "import sys; import latentdiff.settings.wire; print({'numpy', 'keras', 'PIL'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
