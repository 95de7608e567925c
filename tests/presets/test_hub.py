"""Presets on a hub, against a server on this machine."""

import os
import shutil
from pathlib import Path

import pytest
from harness import GOLDEN, assert_close
from hub_server import COMMIT, python, serving

from latentdiff.presets import weights
from latentdiff.presets.folder import check_files
from latentdiff.presets.preset import OWN_FILES, load_preset
from latentdiff.presets.push import portable

pytest.importorskip("huggingface_hub")
PRESET = GOLDEN / "jax_preset"
ADDRESS = "hf://owner/name"
SAFETENSORS = weights.SAFETENSORS_FILE

DOWNLOAD = """
import sys
from latentdiff.presets.folder import check_files, preset_folder
from latentdiff.presets.weights import _checked_file
folder = preset_folder(sys.argv[1])
check_files(folder, ("*.json", "model.*", "assets/tokenizer/*"))
with _checked_file(folder):
    print(folder)
"""
COMMANDS = """
import sys
from latentdiff.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def root(tmp_path):
    """The folder of the repository: a preset as it travels."""
    (tmp_path / "root").mkdir()
    portable(PRESET, tmp_path / "root", ADDRESS)
    return tmp_path / "root"


@pytest.fixture
def server(root):
    with serving(root) as server:
        yield server


@pytest.fixture
def download(server, tmp_path):
    def run(address=ADDRESS, **variables):
        return python(DOWNLOAD, server, tmp_path / "cache", address, **variables)

    return run


# === Hugging Face Hub ===


def test_download_and_offline(download, server):
    done = download()
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert folder.name == COMMIT and server.asked == set(server.files())
    assert (folder / SAFETENSORS).read_bytes() == (server.root / SAFETENSORS).read_bytes()
    server.asked.clear()
    offline = download(HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert (offline.returncode, offline.stdout, server.asked) == (0, done.stdout, set())


def test_what_is_no_part_of_a_preset_stays_there(download, server):
    (server.root / "model.ckpt").write_bytes(b"a pickle")
    (server.root / "code.py").write_text("print('code')")
    assert download().returncode == 0
    assert not server.asked & {"model.ckpt", "code.py"}


def test_after_a_cut_connection_it_goes_on(download, server):
    server.faults[SAFETENSORS] = "cut"
    done = download()
    assert "OSError: hf://owner/name can't be used" in done.stderr
    server.faults.clear()
    server.asked.clear()
    done = download()
    assert done.returncode == 0, done.stderr
    assert server.asked == {SAFETENSORS}  # the others are in the cache


def test_changed_weights_are_refused(download, server):
    server.faults[SAFETENSORS] = "changed"
    done = download()
    assert "was changed, its checksum is not the recorded one" in done.stderr


def test_a_missing_file_is_named(download, server):
    (server.root / SAFETENSORS).unlink()
    done = download()
    assert "ValueError: The preset is incomplete" in done.stderr and SAFETENSORS in done.stderr


@pytest.mark.parametrize("address", ["hf://owner/other", "hf://owner", "hf://owner/name/more"])
def test_wrong_addresses(download, address):
    assert f"ValueError: {address} can't be used" in download(address).stderr


def push(server, cache):
    shutil.rmtree(server.root)
    server.root.mkdir()
    (server.root / "model.weights.h5").write_bytes(b"of an earlier push")
    pushed = python(COMMANDS, server, cache, "push", PRESET, ADDRESS, HF_TOKEN="hf_token")
    assert (pushed.returncode, pushed.stdout) == (0, f"{ADDRESS}\n"), pushed.stderr


def test_push(tmp_path, server, download):
    """A preset goes to the hub and comes back."""
    push(server, tmp_path / "cache")
    assert server.deleted == ["model.weights.h5"]
    assert (server.root / "README.md").read_text().count(f"--preset {ADDRESS}") == 1
    (loaded, settings), (expected, told) = load_preset(download().stdout.strip()), load_preset(PRESET)
    assert settings == told
    assert_close(loaded.get_weights(), expected.get_weights(), 0.0)


@pytest.mark.slow
def test_push_and_generate(tmp_path, server):
    push(server, tmp_path / "cache")
    images = []
    for preset in (ADDRESS, PRESET):
        path = tmp_path / f"{len(images)}.png"
        options = ["--preset", preset, "--seed", "3", "--output", path]
        done = python(COMMANDS, server, tmp_path / "cache", "generate", "a cat", *options)
        assert done.returncode == 0, done.stderr
        images.append(pixels(path))
    assert images[0] == images[1]


def pixels(path):
    from PIL import Image

    with Image.open(path) as image:
        return image.tobytes()


# === Links of the cache ===


@pytest.fixture
def snapshot(tmp_path, root):
    """A preset as the cache of the Hugging Face Hub has it: links to files in `blobs`."""
    folder, blobs = tmp_path / "models--owner--name/snapshots/abc", tmp_path / "models--owner--name/blobs"
    blobs.mkdir(parents=True)
    for index, path in enumerate(path for path in sorted(root.rglob("*")) if path.is_file()):
        shutil.copyfile(path, blobs / str(index))
        link = folder / path.relative_to(root)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blobs / str(index), link.parent))
    return folder


def test_links_to_blobs_are_taken(snapshot):
    check_files(snapshot, OWN_FILES)
    snapshot.rename(snapshot.parent / "def")
    check_files(snapshot.parent / "def", OWN_FILES)


@pytest.mark.parametrize("target", ["outside", "../../../outside", "../../blobs/inner/outside"])
def test_other_links_are_refused(snapshot, tmp_path, target):
    (tmp_path / "outside").write_text("{}")
    blobs = snapshot.parents[1] / "blobs"
    (blobs / "inner").mkdir()
    (blobs / "inner" / "outside").write_text("{}")
    (snapshot / "task.json").unlink()
    (snapshot / "task.json").symlink_to(tmp_path / "outside" if target == "outside" else target)
    assert (snapshot / "task.json").is_file()
    with pytest.raises(ValueError, match="no link out of it"):
        check_files(snapshot, OWN_FILES)


@pytest.mark.parametrize("what", ["blob", "blobs"])
def test_blobs_that_are_links_themselves_are_refused(snapshot, tmp_path, what):
    blobs = snapshot.parents[1] / "blobs"
    if what == "blob":
        blob = (snapshot / "task.json").resolve()
        blob.rename(tmp_path / "secret")
        blob.symlink_to(tmp_path / "secret")
    else:
        blobs.rename(tmp_path / "secrets")
        blobs.symlink_to(tmp_path / "secrets")
    assert (snapshot / "task.json").is_file()
    with pytest.raises(ValueError, match="no link out of it"):
        check_files(snapshot, OWN_FILES)


def test_the_same_links_elsewhere_are_refused(snapshot):
    folder = snapshot.parents[1] / "other"
    snapshot.parent.rename(folder)
    with pytest.raises(ValueError, match="no link out of it"):
        check_files(folder / "abc", OWN_FILES)
