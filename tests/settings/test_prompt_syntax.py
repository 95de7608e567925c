import time

import pytest

from latentdiff.settings.prompt_syntax import parse


@pytest.mark.parametrize(
    "prompt, pieces",
    [
        ("a):0.5(b", [("a):0.5(b", 1.0)]),
        ("((a:2)", [("(", 1.0), ("a", 2.0)]),
        ("(a:2))", [("a", 2.0), (")", 1.0)]),
        ("(a (b:0.5):2)", [("a ", 2.0), ("b", 1.0)]),
        (r"(a\:2)", [("(a:2)", 1.0)]),
        ("(a: .5e+1 )", [("a", 5.0)]),
    ],
)
def test_only_parentheses_that_belong_together_are_a_group(prompt, pieces):
    assert [*parse(prompt)[0].pieces] == pieces


@pytest.mark.parametrize(
    "prompt", ["(" * 10_000, "(" * 5000 + ")" * 5000, ":" + "1" * 9998, "(:1" * 3333, "(a:" + "1" * 9000 + "x)"]
)
def test_no_prompt_takes_long(prompt):
    start = time.process_time()
    parse(prompt)
    assert time.process_time() - start < 0.5  # it takes milliseconds; quadratic in the length it took seconds
