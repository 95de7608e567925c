"""Whatever enters is accepted whole, or refused with a documented error in one line. More examples:

pytest tests/fuzz --hypothesis-profile long
"""

import json

import entrances
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from latentdiff.settings.table import SETTINGS

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates, too
SYNTAX = st.text("()|:\\.e0123456789-+ a\n")
NUMBERS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([1e30, 2**31 - 1, 2**31, 10**400])
SCALARS = NUMBERS | ANY_TEXT | st.sampled_from(["inf", "1"])
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner), max_leaves=6)
ARRAYS = st.builds(np.array, st.lists(st.integers(-5, 5) | st.floats(width=32), max_size=3))
VALUES = JSON | ARRAYS | st.binary() | st.lists(NUMBERS, min_size=2, max_size=2)
NAMES = st.sampled_from([name for name in SETTINGS if name not in ("prompts", "sampler")])


def objects(*keys):
    """JSON objects that have some of the keys."""
    return st.dictionaries(st.sampled_from(keys) | ANY_TEXT, JSON, max_size=5)


def near(value):
    """JSON documents that are `value` but for one place."""

    def spoiled(draw):
        copy = json.loads(json.dumps(value))
        place = copy
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            place[key] = draw(JSON)
            return copy

    return st.composite(spoiled)()


def nested(depth):
    return b"[" * depth + b"]" * depth


DOCUMENTS = {
    name: near(json.loads(seeds[0]))
    for name, (_, seeds) in entrances.OF_BYTES.items()
    if seeds[0].startswith((b"[", b"{"))
}


@given(ANY_TEXT | SYNTAX)
@example("(" * 50 + "a" + ":1)" * 50)
@example("a:1e-320 | b:1e-320")
@example("a" * 10_001)
@example("((((" * 2000)
def test_prompts(text):
    entrances.prompt(text)


@given(ANY_TEXT | SYNTAX | VALUES | st.lists(ANY_TEXT | SYNTAX, max_size=3), st.dictionaries(NAMES, VALUES, max_size=3))
def test_requests(prompts, settings):
    entrances.request(prompts, settings)


@given(st.dictionaries(NAMES, st.integers(0, 3) | st.floats(0, 3) | st.sampled_from([[0, 1e30], (0.5, 2)]), max_size=4))
def test_requests_that_are_nearly_right(settings):
    entrances.request(["a (b:2)", "c"], settings)


@pytest.mark.parametrize("name", DOCUMENTS)
@given(st.data())
def test_documents(name, data):
    entrance, _ = entrances.OF_BYTES[name]
    entrance(json.dumps(data.draw(DOCUMENTS[name] | JSON)).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("name", entrances.OF_BYTES)
@given(st.data())
def test_bytes(name, data):
    entrance, seeds = entrances.OF_BYTES[name]
    seed = data.draw(st.sampled_from(seeds))
    place = data.draw(st.integers(0, len(seed)))
    entrance(seed[:place] + data.draw(st.binary()) + seed[place + data.draw(st.integers(0, 3)) :])


@pytest.mark.parametrize("name", entrances.OF_BYTES)
@pytest.mark.parametrize(
    "content", [b"", nested(500), nested(100_000), b'{"a":' * 900 + b"1" + b"}" * 900, b"\xff\xfe"]
)
def test_special_bytes(name, content):
    entrances.OF_BYTES[name][0](content)


PARTS = {"class_name": "Dense", "module": "keras.layers", "registered_name": None, "config": {"units": 1}}


@given(near({**PARTS, "config": {"unet": PARTS, "layers": [PARTS]}}) | objects(*PARTS))
def test_configs(value):
    entrances.config(value)
