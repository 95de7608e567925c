"""The experiments of emoji-128 and of the baselines."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.asked import PROMPTS
from latentdiff.recipes.experiments import load_experiment
from training.experiments.emoji_128_part_two import DESCRIPTIONS, captions

APPLE = {"label": "red apple", "style": "3d", "caption": "red apple, 3d", "keywords": ["fruit"]}
OWL = {"label": "mirrored owl", "style": "flat", "caption": "mirrored owl, flat", "keywords": []}


@pytest.mark.parametrize("record", [APPLE, OWL])
def test_each_picture_has_as_many_captions(record):
    ways = captions(record, np.random.default_rng(0))
    assert len(ways) == 16 and ways.count(record["caption"]) >= 3
    named = [way for way in ways if record["style"] in way]
    assert len(named) == 15 and record["label"] in set(ways) - set(named)  # one way leaves the style open


def test_descriptions_are_ways_to_ask():
    ways = captions(APPLE, np.random.default_rng(0))
    assert len(DESCRIPTIONS["red apple"]) == 4
    assert {f"{description}, 3d" for description in DESCRIPTIONS["red apple"]} <= set(ways)


def test_no_description_is_what_the_benchmark_asks():
    prompts = json.loads((PROMPTS / "paraphrases.json").read_text(encoding="utf-8"))
    asked = [set(row["prompt"].removesuffix(f", {row['style']}").split()) for row in prompts]
    for label, descriptions in DESCRIPTIONS.items():
        assert len(set(descriptions)) == len(descriptions) and label not in descriptions
        for description in descriptions:
            words = set(description.split())
            nearest = max(asked, key=lambda others: len(words & others) / len(words | others))
            assert len(words & nearest) < 0.6 * len(words | nearest), (label, description, nearest)


FILES = sorted((Path(__file__).parents[2] / "training" / "experiments").glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_experiment_states_its_command_cost_and_result(path):
    text = path.read_text(encoding="utf-8").split('"""')[1]
    assert all(f"\n{part}" in text for part in ("Command", "Cost:", "Result:"))
    assert f"training/experiments/{path.name}" in text


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_quick_is_smaller(path):
    whole, quick = (load_experiment(path, flag) for flag in (False, True))
    assert quick.image_size < whole.image_size and quick.epochs * quick.passes < whole.epochs * whole.passes
    assert quick.captions is whole.captions or quick.captions.__code__ == whole.captions.__code__


def test_part_two_goes_on_from_part_one():
    one, two = (load_experiment(path) for path in FILES if path.stem in ("emoji_128", "emoji_128_part_two"))
    assert {**two.network, "dropout": one.network["dropout"]} == one.network
    assert two.epochs * two.passes == 2 * 858 and one.epochs * one.passes == 4 * 570
