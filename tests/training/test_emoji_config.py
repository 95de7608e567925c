"""What emoji-128 is trained to be asked by."""

import json

import numpy as np
import pytest

from benchmarks.asked import PROMPTS
from training.configs.emoji_128_part_two import DESCRIPTIONS, captions

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
