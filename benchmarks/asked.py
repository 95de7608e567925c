"""The prompts of the benchmarks: captions of the data, paraphrases and compositions."""

import dataclasses
import json
from pathlib import Path

import numpy as np

PROMPTS = Path(__file__).resolve().parent / "prompts"
# Training reads them too, to keep out what they ask for.
COMPOSITIONS = Path(__file__).resolve().parents[1] / "training" / "datasets" / "emoji_compositions.json"


@dataclasses.dataclass(frozen=True)
class Asked:
    """What images should show.

    Attributes:
        prompts: n strings.
        ids: n sets of the emoji that count as right.
        styles: n style names.
    """

    prompts: list[str]
    ids: list[set[str]]
    styles: list[str]

    def __len__(self):
        return len(self.prompts)

    def first(self, count):
        """The first `count`, or all when None."""
        return Asked(self.prompts[:count], self.ids[:count], self.styles[:count])


def column(pictures, key):
    """One entry of each record of `CaptionedImages`, as a list.

    Raises:
        ValueError: a record without it.
    """
    if not all(key in record for record in pictures.records):
        raise ValueError(f"`data` must have a column {key!r}. Received: columns {sorted(pictures.records[0])}")
    return [record[key] for record in pictures.records]


def are_training(pictures):
    """Which of the `CaptionedImages` are of the split "train", or of data without splits: bool array (n,)."""
    return np.array([record.get("split", "train") == "train" for record in pictures.records], bool)


def asked_of_pictures(pictures):
    """The captions of `CaptionedImages` whose records have `id` and `style`, as prompts that are taken literally."""
    ids, styles = (column(pictures, key) for key in ("id", "style"))
    return Asked(pictures.prompts, [{i} for i in ids], styles)


def load_paraphrases(known_ids, known_styles, path=PROMPTS / "paraphrases.json"):
    """Reads prompts with the ids that count as right.

    Raises:
        ValueError: an id or style is unknown to the data.
    """
    rows = json.loads(Path(path).read_text(encoding="utf-8"))
    for row in rows:
        unknown = set(row["ids"]) - set(known_ids) | {row["style"]} - set(known_styles)
        if unknown or not row["ids"]:
            raise ValueError(f"`path` must ask for known ids and styles only. Received: {row}, unknown: {unknown}")
    return Asked([row["prompt"] for row in rows], [set(row["ids"]) for row in rows], [row["style"] for row in rows])


def load_compositions(path=COMPOSITIONS):
    """Reads prompts that no image shows: list of dicts with `prompt`, `style` and `things`."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def sample_rows(candidates, count, seed=0):
    """Draws `count` of the row numbers `candidates` without repetition, ascending; all of them if there are fewer."""
    candidates = np.asarray(candidates)
    if count >= len(candidates):
        return candidates
    return np.sort(np.random.default_rng(seed).choice(candidates, count, replace=False))
