import json
import math

import numpy as np
import pytest

from latentdiff.settings.table import LARGEST, MAX_SIDE, ROWS, SETTINGS, Pair, Setting, describe


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("num_steps", np.int64(3), 3),
        ("guidance_scale", 2, 2.0),
        ("guidance_scale", np.float32(2.5), 2.5),
        ("guidance_interval", [0.5, LARGEST], (0.5, math.inf)),
        ("guidance_interval", np.array([0.5, 2.0]), (0.5, 2.0)),
        ("keep_pixels", np.bool_(True), True),
        ("original_size", [np.int64(512), 768], (512, 768)),
        ("crop_top_left", (0, 5), (0, 5)),
        ("prompts", b"caf\xc3\xa9", "café"),
        ("sampler", "ddim", "ddim"),
    ],
)
def test_values(name, value, expected):
    made = SETTINGS[name].check(value)
    assert made == expected and type(made) is type(expected)


@pytest.mark.parametrize(
    "name, value",
    [
        ("num_steps", 0),
        ("num_steps", 2.0),
        ("num_steps", True),
        ("num_steps", "3"),
        ("seed", 2**31),
        ("guidance_scale", 0.99),
        ("guidance_scale", math.nan),
        ("guidance_scale", math.inf),
        ("guidance_scale", "2"),
        ("guidance_rescale", np.array([1.0, 2.0])),
        ("guidance_interval", (2.0, 2.0)),
        ("guidance_interval", (-1.0, 2.0)),
        ("guidance_interval", (1.0,)),
        ("keep_pixels", 1),
        ("original_size", (0, 5)),
        ("original_size", (5, MAX_SIDE + 1)),
        ("crop_top_left", (0, 5.0)),
        ("crop_top_left", (0, -1)),
        ("crop_top_left", (0, 1, 2)),
        ("target_size", "12"),
        ("target_size", 12),
        ("prompts", b"caf\xe9"),
        ("prompts", "\ud83d"),
        ("prompts", None),
        ("sampler", "magic"),
    ],
)
def test_values_out_of_bounds(name, value):
    with pytest.raises(ValueError, match="^must be "):
        SETTINGS[name].check(value)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_is_whole(row):
    """What the fronts derive from it is there, and JSON brings a value back."""
    assert row.help and row.expected and row.dtype in ("string", "int32", "float32", "bool")
    example = {str: row.choices[0] if row.choices else "a", int: 3, float: 1.0, bool: True}
    value = {**example, tuple: (0.5, math.inf), Pair: (3, 4)}[row.kind]
    assert row.check(json.loads(json.dumps(row.to_json(value), allow_nan=False))) == value


def test_text_of_the_command_line():
    assert SETTINGS["num_steps"].parse("12") == 12 and SETTINGS["guidance_scale"].parse("2") == 2.0
    for text in ("", "x", "nan", "1.5"):
        with pytest.raises(ValueError, match="must be a whole number of at least 1"):
            SETTINGS["num_steps"].parse(text)


def test_rows_for_other_hosts():
    rows = {row["name"]: row for row in describe({"num_steps": 12, "guidance_interval": (0.5, math.inf)})}
    assert rows["num_steps"]["default"] == 12 and rows["num_steps"]["low"] == 1
    assert rows["seed"]["drawn"] and rows["seed"]["default"] is None
    assert rows["guidance_interval"]["default"] == [0.5, LARGEST] and rows["guidance_interval"]["kind"] == "interval"
    assert rows["prompts"]["default"] is None and rows["negative_prompts"]["default"] == ""
    assert json.loads(json.dumps(list(rows.values()), allow_nan=False)) == list(rows.values())


def test_names_of_one_image_and_of_a_batch():
    row = Setting("weight", float, "of a test")
    assert (row.key, row.wire, row.shape) == ("weight", "weight", ())
    assert (SETTINGS["seed"].wire, SETTINGS["prompts"].key) == ("seeds", "prompt")
