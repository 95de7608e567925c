import collections
import json

import numpy as np
import pytest

from benchmarks.asked import (
    PROMPTS,
    are_training,
    asked_of_pictures,
    column,
    load_compositions,
    load_paraphrases,
    sample_rows,
)
from latentdiff.data.captioned_images import CaptionedImages

STYLES = {"noto", "noto classic", "twemoji", "3d", "gradient", "flat", "black and white", "emojitwo", "fx", "outline"}


def test_paraphrases_cover_the_styles_evenly():
    rows = json.loads((PROMPTS / "paraphrases.json").read_text(encoding="utf-8"))
    ids = {i for row in rows for i in row["ids"]}
    asked = load_paraphrases(ids, STYLES)
    assert len(asked) == len(set(asked.prompts)) == 100
    assert set(collections.Counter(asked.styles).values()) == {10} and set(asked.styles) == STYLES
    for prompt, style in zip(asked.prompts, asked.styles, strict=True):
        assert prompt.endswith(f", {style}")
    assert asked.first(3).prompts == asked.prompts[:3] and len(asked.first(None)) == 100
    with pytest.raises(ValueError, match="known ids and styles.*unknown"):
        load_paraphrases(ids - {rows[5]["ids"][0]}, STYLES)
    with pytest.raises(ValueError, match="known ids and styles.*unknown"):
        load_paraphrases(ids, STYLES - {"fx"})


def test_compositions_name_two_things():
    rows = load_compositions()
    assert len(rows) == len({row["prompt"] for row in rows}) == 40
    assert {row["style"] for row in rows} == STYLES
    for row in rows:
        assert len(row["things"]) == 2 and row["prompt"].endswith(f", {row['style']}")


def test_training_pictures_and_columns():
    records = [{"id": "a", "split": split} for split in ("train", "validation", "test")] + [{"id": "b"}]
    pictures = CaptionedImages(np.zeros((4, 8, 8, 3), "uint8"), [""] * 4, records)
    assert are_training(pictures).tolist() == [True, False, False, True]
    assert column(pictures, "id") == ["a", "a", "a", "b"]
    for function in (asked_of_pictures, lambda pictures: column(pictures, "style")):
        with pytest.raises(ValueError, match=r"`data` must have a column 'style'. Received: columns \['id', 'split'\]"):
            function(pictures)


def test_sample_rows():
    rows = sample_rows(np.arange(100, 200), 10)
    assert len(set(rows)) == 10 and (np.diff(rows) > 0).all() and rows.min() >= 100
    np.testing.assert_array_equal(rows, sample_rows(np.arange(100, 200), 10))
    np.testing.assert_array_equal(sample_rows([3, 1], 5), [3, 1])
