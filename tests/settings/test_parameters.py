import pytest

from latentdiff.settings.parameters import SAMPLER_NAMES, from_parameters, to_parameters
from latentdiff.settings.request import Request
from latentdiff.settings.table import SAMPLERS
from latentdiff.version import __version__

# As other programs write it, with what has no counterpart here.
FOREIGN = """a (red) apple, <lora:my-cat:0.8>
on a [table]
Negative prompt: (blurry:1.4), text
Steps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 42, Size: 512x768, Model hash: cc6cb27103, Model: sd15, \
Lora hashes: "my-cat: 1f3a, other: 77aa", Version: v1.10.1"""


def record(**settings):
    defaults = {"sampler": "ddim", "num_steps": 20, "guidance_scale": 7.0}
    return Request.build("a (red:1.3) apple", seed=7, **settings).with_defaults(defaults).record(0)


def test_the_form_that_others_read():
    told = {**record(negative_prompts="(blue), text"), "preset": "models/sd15", "lora": ["a/cat.safetensors:0.5"]}
    *lines, last = to_parameters(told, (512, 768)).split("\n")
    assert lines == ["a (red:1.3) apple <lora:cat:0.5>", r"Negative prompt: \(blue\), text"]
    expected = "Steps: 20, CFG scale: 7, Seed: 7, Sampler: DDIM, Size: 768x512, Model: sd15, Version: latentdiff "
    assert last == expected + __version__
    assert "Negative" not in to_parameters(record(), (8, 8))


def test_there_and_back():
    told = {**record(negative_prompts="blue", sampler={"name": "unipc"}), "preset": 'a, "b": c'}
    settings, others = from_parameters(to_parameters(told, (8, 8)))
    kept = ("prompt", "negative_prompt", "seed", "num_steps", "guidance_scale")
    assert settings == {**{key: told[key] for key in kept}, "sampler": "unipc"}
    assert others == {"Size": "8x8", "Model": 'a, "b": c', "Version": f"latentdiff {__version__}"}


def test_the_text_of_another_program():
    settings, others = from_parameters(FOREIGN)
    assert settings == {
        "prompt": "a (red:1.1) apple,\non a (table:0.909091)",
        "negative_prompt": "(blurry:1.4), text",
        "num_steps": 20,
        "guidance_scale": 7.5,
        "seed": 42,
        "sampler": "euler_ancestral",
    }
    assert others.pop("Lora hashes") == "my-cat: 1f3a, other: 77aa"
    expected = {"Size": "512x768", "Model hash": "cc6cb27103", "Model": "sd15", "Version": "v1.10.1"}
    assert others == {**expected, "lora": ["my-cat:0.8"]}


def test_what_is_not_known_here_is_told():
    settings, others = from_parameters("a cat\nSteps: 20, Sampler: DPM adaptive, CFG scale: 0.5, Seed: 4294967295")
    assert settings == {"prompt": "a cat", "num_steps": 20}
    assert others == {"Sampler": "DPM adaptive", "CFG scale": "0.5", "Seed": "4294967295"}


@pytest.mark.parametrize("text", ["a cat: big, red", "a cat", "", "two\nlines: of, text"])
def test_a_prompt_alone(text):
    assert from_parameters(text) == ({"prompt": text}, {})


def test_all_samplers_have_a_name():
    assert set(SAMPLER_NAMES) == set(SAMPLERS)
    assert len(set(SAMPLER_NAMES.values())) == len(SAMPLERS)


@pytest.mark.parametrize("text", [" " * 100_000, "a:" * 50_000, 'a: "' * 30_000, "x " * 50_000, "<lora:" * 20_000])
def test_hostile_texts_take_no_time(text):
    try:
        from_parameters(f"a cat\nSteps: 1, Seed: 2, Size: 8x8, {text}")
    except ValueError as error:
        assert "bytes" in str(error)
