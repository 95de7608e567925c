"""A preset on its way to a hub: weights as safetensors, so that neither code nor a pickle travels, and a model card."""

import shutil
import tempfile
from pathlib import Path

from latentdiff.presets import hub, weights
from latentdiff.presets.card import CARD_FILE, make_card
from latentdiff.presets.folder import CONFIG_FILE, check_files, preset_folder
from latentdiff.presets.replacement import ASSETS, OWN, where

NEEDED = (CONFIG_FILE, "task.json", "metadata.json", "tokenizer.json")
TEXTS = ("*.md", "LICENSE*")


def push(preset, address, private=False, data=None):
    """Uploads a preset.

    Args:
        preset: name or folder, see `folder.preset_folder`.
        address: hf://OWNER/NAME[@REVISION] or kaggle://OWNER/MODEL/FRAMEWORK/VARIATION.
        private: whether a new repository of the Hugging Face Hub is private; one of Kaggle always is.
        data: optional, what the model was trained on, in words: for the card of a preset that has no README.md.

    Raises:
        ValueError: no preset, a damaged one or one with links out of its folder; see also `hub.upload`.
        OSError: a file is missing; the hub refuses, or can't be reached.
    """
    folder = preset_folder(preset)
    with tempfile.TemporaryDirectory() as draft:
        portable(folder, Path(draft), address, data)
        hub.upload(Path(draft), address, private, OWN)


def portable(folder, draft, address, data=None):
    """Writes what travels of the preset in a folder into an empty one; the arguments are those of `push`."""
    place = where(folder)
    check_files(place, (*NEEDED, *OWN))
    check_files(folder, TEXTS)
    assets = [path.relative_to(place) for pattern in ASSETS for path in place.glob(pattern)]
    for name in (*NEEDED, *assets):
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place / name, draft / name)
    for text in (text for pattern in TEXTS for text in folder.glob(pattern)):
        shutil.copyfile(text, draft / text.name)
    weights.write_safetensors(place, draft)
    if not (draft / CARD_FILE).exists():
        (draft / CARD_FILE).write_text(make_card(draft, address, data), encoding="utf-8")
