"""Whatever enters is accepted whole, or refused with a documented error in one line. More examples:

pytest tests/fuzz --hypothesis-profile long
"""

import json
import tempfile

import numpy as np
import pytest
from fuzz import entrances
from hypothesis import example, given
from hypothesis import strategies as st

from latentdiff.data.sources import read_rows
from latentdiff.settings.table import SETTINGS, UNSET

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


COLUMNS = {
    "image": st.none() | st.binary(max_size=3),
    "caption": st.none() | st.text(max_size=5),
    "text": st.binary(max_size=5),
    "split": st.integers(0, 3),
    "tags": st.lists(st.text(max_size=3), max_size=2),
}


@given(st.sets(st.sampled_from([*COLUMNS])), st.integers(0, 3), st.data())
def test_parquet_rows(names, count, data):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {name: data.draw(st.lists(COLUMNS[name], min_size=count, max_size=count)) for name in sorted(names)}
    with tempfile.TemporaryDirectory() as folder:
        parquet.write_table(pyarrow.table(columns), f"{folder}/a.parquet")
        was_refused, rows = entrances.refused(lambda: list(read_rows(f"{folder}/a.parquet")))
        assert was_refused or len(rows) == count and all(row.caption for row in rows)


EDGES = [float("nan"), float("inf"), float("-inf"), -1.0, 0.0, 1.0, 1e30, 3e38, -3e38]
TENSORS = {
    "int32": st.integers(-(2**31), 2**31 - 1),
    "float32": st.floats(width=32) | st.sampled_from(EDGES).map(lambda edge: float(np.float32(edge))),
}


@given(st.data())
def test_tensors_of_a_served_request(data):
    """Whatever numbers come, those used are within the bounds, and a row says so where they are not those asked for."""
    pytest.importorskip("tensorflow")
    from latentdiff.export.saved_model import request_bounds as bounds

    def draw(row):
        values = data.draw(st.lists(TENSORS[row.dtype], min_size=2 * (row.shape or (1,))[0], max_size=99))
        return np.array(values[: 2 * (row.shape or (1,))[0]], row.dtype).reshape(2, *row.shape)

    values = {row.wire: draw(row) for row in bounds.NUMBERS}
    defaults = {"num_steps": 3, "guidance_scale": 2.0, "guidance_rescale": 0.0, "guidance_interval": (0.0, 1e30)}
    warnings = bounds.Warnings(values["seeds"])
    used = bounds.bound_settings(values, defaults, {"num_steps": 100}, warnings)
    for row in bounds.NUMBERS:
        for asked, made in zip(values[row.wire], used[row.wire].numpy(), strict=True):
            assert row.check(made.tolist()) is not None
            assert (asked == made).all() or (asked == UNSET).all() or any(warnings.texts.numpy())
    assert used["num_steps"].numpy().max() <= 100


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=3))
def test_texts_of_a_served_request(texts):
    pytest.importorskip("tensorflow")
    from latentdiff.export.saved_model import request_bounds as bounds

    warnings = bounds.Warnings(np.zeros(len(texts)))
    made = bounds.bound_text(texts, "prompts", warnings).numpy()
    for text, used, said in zip(texts, made, warnings.texts.numpy(), strict=True):
        assert used.decode("utf-8") == text.decode("utf-8", "replace") or said
        assert (used == text) == (not said)


def test_an_interval_beyond_the_largest_number_is_empty():
    """Found by the search above: 1e30 stands for infinity, so nothing lies between it and infinity."""
    pytest.importorskip("tensorflow")
    from latentdiff.export.saved_model import request_bounds as bounds

    values = {row.wire: np.zeros((2, *row.shape), row.dtype) for row in bounds.NUMBERS}
    values["guidance_interval"] = np.array([[1e30, np.inf], [1.0, np.inf]], "float32")
    defaults = {"num_steps": 3, "guidance_scale": 2.0, "guidance_rescale": 0.0, "guidance_interval": (0.0, 1e30)}
    warnings = bounds.Warnings(values["seeds"])
    used = bounds.bound_settings(values, defaults, {"num_steps": 100}, warnings)["guidance_interval"].numpy()
    np.testing.assert_array_equal(used, np.array([[0.0, 1e30], [1.0, np.inf]], "float32"))
    assert b"guidance_interval" in warnings.texts.numpy()[0] and b"guidance_interval" not in warnings.texts.numpy()[1]
