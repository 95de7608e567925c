"""Presets in one folder, one after the other: a reader finds one of the two, whole, whenever the writer is killed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness import assert_close, tiny_text_to_image

from latentdiff import TextToImage
from latentdiff.presets import preset as presets
from latentdiff.presets.replacement import NEXT, replacing, where

KILLS = """
import shutil
from pathlib import Path
import h5py, numpy as np
from harness import tiny_text_to_image
from killing import killed_at
from latentdiff import TextToImage
from latentdiff.presets.folder import preset_folder
from latentdiff.presets.preset import save_preset
from latentdiff.presets.replacement import where
from latentdiff.presets import weights

home = Path(WORK)
old, new = tiny_text_to_image(), tiny_text_to_image(prediction_type="noise")
for variable in new.model.unet.trainable_variables:
    variable.assign(variable + 1.0)
old.num_steps, new.num_steps = 5, 7
settings = [{name: getattr(pipeline, name) for name in pipeline.defaults} for pipeline in (old, new)]
options = {"whole": {}, "pieces": {"max_shard_bytes": 100_000}}

def content(folder):
    folder = where(preset_folder(folder))
    texts = [(folder / name).read_text() for name in ("config.json", "task.json", "assets/tokenizer/vocabulary.txt")]
    with weights._whole_file(folder) as path, h5py.File(path) as file:
        arrays = []
        file.visititems(lambda name, entry: arrays.append(entry[()]) if isinstance(entry, h5py.Dataset) else None)
    return texts, [array.tolist() for array in arrays]

for first, second in (("pieces", "whole"), ("whole", "pieces")):
    (home / "old").mkdir()
    (home / "old" / "README.md").write_text("card")
    save_preset(home / "old", old.model, settings[0], **options[first])
    save_preset(home / "new", new.model, settings[1], **options[second])
    expected = {"old": content(home / "old"), "new": content(home / "new")}
    names = {path.name for path in (home / "new").iterdir()} | {"README.md"}
    found, count, killed = [], 0 if first == "pieces" else -2, True
    while killed:
        count += 4
        folder = home / "now"
        shutil.copytree(home / "old", folder)
        save = lambda: save_preset(folder, new.model, settings[1], **options[second])
        killed = killed_at(count, folder, save)
        seen = content(folder)
        found += [name for name in expected if seen == expected[name]]
        assert -(-count // 4) == len(found), (count, sorted(folder.rglob("*")))
        assert (folder / "README.md").read_text() == "card"
        if len(found) % 8 == 0:
            assert TextToImage.from_preset(folder).num_steps == (5 if found[-1] == "old" else 7)
            assert not killed_at(0, folder, save)  # the next one completes it
            assert content(folder) == expected["new"]
            assert {path.name for path in folder.iterdir() if not path.name.startswith(".draft-")} == names
        shutil.rmtree(folder)
    assert found == sorted(found, reverse=True) and found[0] == "old" and found[-1] == "new"  # one moment
    print(len(found), found.count("old"), found.count("new"), flush=True)
    shutil.rmtree(home / "old")
    shutil.rmtree(home / "new")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_killed_at_any_moment_the_old_or_the_new_preset_is_there(tmp_path):
    code = KILLS.replace("WORK", repr(str(tmp_path)))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [Path(__file__).parents[1], *sys.path]))}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    for line in run.stdout.splitlines():
        count, old, new = map(int, line.split())
        assert count == old + new and min(old, new) > 2  # killed often enough on both sides


# === Laws ===


def test_a_reader_in_between_opens_one_of_the_two(tmp_path, monkeypatch):
    """The preset is replaced after its weights were read, before the reader is done."""
    old, new = tiny_text_to_image(), tiny_text_to_image()
    for variable in new.model.unet.trainable_variables:
        variable.assign(variable + 1.0)
    old.num_steps, new.num_steps = 5, 7
    old.save_to_preset(tmp_path)
    load, replace = presets.preset_weights.load, [new.save_to_preset]

    def replaced_meanwhile(model, folder):
        while replace:
            replace.pop()(tmp_path)
        load(model, folder)

    monkeypatch.setattr(presets.preset_weights, "load", replaced_meanwhile)
    loaded = TextToImage.from_preset(tmp_path)
    assert loaded.num_steps == 7
    assert_close(loaded.model.unet.get_weights(), new.model.unet.get_weights(), 0.0)


@pytest.mark.slow
def test_a_preset_that_never_stays_is_refused(tmp_path, monkeypatch):
    pipeline = tiny_text_to_image()
    pipeline.save_to_preset(tmp_path)
    monkeypatch.setattr(presets.preset_weights, "load", lambda model, folder: pipeline.save_to_preset(tmp_path))
    with pytest.raises(ValueError, match="`preset` must stay as it is.*Received: preset="):
        TextToImage.from_preset(tmp_path)


def test_disks_without_links(tmp_path, monkeypatch):
    def link(*args):
        raise OSError("not supported")

    monkeypatch.setattr(os, "link", link)
    with replacing(tmp_path) as draft:
        (draft / "assets").mkdir()
        (draft / "assets" / "a.txt").write_text("a")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.txt", "assets"]


def test_what_failed_leaves_the_folder_as_it_was(tmp_path):
    (tmp_path / "config.json").write_text("old")
    with pytest.raises(RuntimeError), replacing(tmp_path) as draft:
        (draft / "config.json").write_text("new")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"] and where(tmp_path) == tmp_path


def test_a_first_preset_that_was_not_put_in_place(tmp_path):
    tiny_text_to_image().save_to_preset(tmp_path / "made")
    (tmp_path / "folder").mkdir()
    shutil.move(tmp_path / "made", tmp_path / "folder" / NEXT)
    assert TextToImage.from_preset(tmp_path / "folder").num_steps == tiny_text_to_image().num_steps
