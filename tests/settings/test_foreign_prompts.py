import pytest

from latentdiff.settings.foreign_prompts import from_foreign, to_foreign
from latentdiff.settings.prompt_syntax import parse
from latentdiff.settings.table import MAX_PROMPT_BYTES

# What Stable Diffusion web UI documents of its own parser (`parse_prompt_attention`).
DOCUMENTED = {
    "normal text": [("normal text", 1.0)],
    "an (important) word": [("an ", 1.0), ("important", 1.1), (" word", 1.0)],
    "(unbalanced": [("unbalanced", 1.1)],
    r"\(literal\]": [("(literal]", 1.0)],
    "(unnecessary)(parens)": [("unnecessaryparens", 1.1)],
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).": [
        ("a ", 1.0),
        ("house", 1.573),
        (" ", 1.1),
        ("on", 1.0),
        (" a ", 1.1),
        ("hill", 0.55),
        (", sun, ", 1.1),
        ("sky", 1.4641),
        (".", 1.1),
    ],
}


@pytest.mark.parametrize("foreign", DOCUMENTED)
def test_weights_are_those_of_the_other_syntax(foreign):
    (part,) = parse(from_foreign(foreign))
    assert [text for text, _ in part.pieces] == [text for text, _ in DOCUMENTED[foreign]]
    assert [w for _, w in part.pieces] == pytest.approx([w for _, w in DOCUMENTED[foreign]], abs=1e-6)


@pytest.mark.parametrize(
    "prompt, foreign",
    [
        ("red apple, 3d", "red apple, 3d"),
        ("(red:1.3) apple", "(red:1.3) apple"),
        ("(red) [apple]", r"\(red\) \[apple\]"),
        (r"\(ratio 3:2\)", r"\(ratio 3:2\)"),
        ("back\\slash", "back\\\\slash"),
        ("(a (b:2):1.5)", "(a :1.5)(b:3)"),
        ("red:3 | (green:2) apple:1", "red :0.75 AND (green:2) apple :0.25"),
        ("(x:0.00001)", "(x:0.00001)"),
        ("", ""),
    ],
)
def test_there_and_back(prompt, foreign):
    assert to_foreign(prompt) == foreign
    assert parse(from_foreign(foreign)) == parse(prompt)


def test_characters_with_a_meaning_here_are_escaped():
    assert from_foreign("a | b, ratio 3:2 x") == "a | b, ratio 3:2 x"
    assert parse(from_foreign("red:1 | green:2")) == parse(r"red\:1 \| green\:2")
    assert from_foreign("(a|b:1.2)") == r"(a\|b:1.2)"


def test_mixtures_and_bounds():
    assert from_foreign("a cat AND a dog :0.5") == "a cat:1 | a dog:0.5"
    assert from_foreign("(a:99) (b:-1)") == "(a:10) (b:0)"
    with pytest.raises(ValueError, match="`prompt` must have at most"):
        from_foreign("a" * (MAX_PROMPT_BYTES + 1))


@pytest.mark.parametrize("text", ["(a" * 4000, "(" * 9000, ":" * 9000, " " * 9000, "a:1 AND " * 1000, "\\" * 9001])
def test_hostile_prompts_take_no_time(text):
    assert isinstance(from_foreign(text), str)
