import shutil

import pytest
from harness import GOLDEN

from latentdiff.presets.push import portable

PRESET = GOLDEN / "jax_preset"


def travelled(folder, draft, *arguments):
    draft.mkdir()
    portable(folder, draft, "hf://me/tiny@v1", *arguments)
    return {str(path.relative_to(draft)) for path in draft.rglob("*") if path.is_file()}


def test_only_the_preset_travels(tmp_path):
    folder = shutil.copytree(PRESET, tmp_path / "tiny")
    for name in ("secret.txt", "model.ckpt", "code.py", "LICENSE.txt"):
        (folder / name).write_text("text")
    expected = {"config.json", "task.json", "metadata.json", "tokenizer.json", "assets/tokenizer/vocabulary.txt"}
    expected |= {"model.safetensors", "model.weights.json", "README.md", "LICENSE.txt"}
    assert travelled(folder, tmp_path / "draft") == expected


def test_a_card_is_made_of_what_is_known(tmp_path):
    travelled(PRESET, tmp_path / "draft", "eight apples")
    card = (tmp_path / "draft" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: keras\n")
    for text in ("# tiny\n", "8 x 8 pixels", "--preset hf://me/tiny@v1", "| unet | UNet |", "26,049 parameters", "F32"):
        assert text in card
    assert "## Data\n\neight apples\n" in card and "- num_steps: 3\n" in card


def test_the_readme_of_a_preset_is_its_card(tmp_path):
    folder = shutil.copytree(PRESET, tmp_path / "tiny")
    (folder / "README.md").write_text("my card")
    travelled(folder, tmp_path / "draft")
    assert (tmp_path / "draft" / "README.md").read_text() == "my card"


def test_a_link_does_not_carry_a_file_away(tmp_path):
    folder = shutil.copytree(PRESET, tmp_path / "tiny")
    (tmp_path / "secret").write_text("secret")
    (folder / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="no link out of it"):
        travelled(folder, tmp_path / "draft")
