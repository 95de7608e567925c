"""`latentdiff train diffusion --word W`: a new word for a preset, from a folder of images."""

import numpy as np
import pytest
from harness import gap, largest_change, tiny_text_to_image
from PIL import Image
from safetensors.numpy import load_file
from tiny_run import write_experiment

from latentdiff import TextToImage
from latentdiff.data.images import image_grid

CAPTIONS = ["a red <x>", "a green <x>", "the blue <x>", "a small <x>"]


@pytest.fixture
def train(tmp_path, stage, folder):
    """Function (*options, **changes) that trains a word for the preset `start`; gives the path of its file."""
    tiny_text_to_image().save_to_preset(tmp_path / "start")
    for row, caption in enumerate(CAPTIONS):
        (folder / f"{row}.txt").write_text(caption)

    def train(*options, code=0, **changes):
        write_experiment(tmp_path / "experiment.py", 1e-1, **{"preview_prompts": (), **changes})
        if not (tmp_path / "run").exists():
            stage("latents", "--data", folder, "--init", tmp_path / "start")
        stage("diffusion", "--init", tmp_path / "start", *options, code=code)
        return tmp_path / "run" / "textual_inversion.safetensors"

    return train


@pytest.mark.slow
def test_the_file_does_in_the_preset_what_it_did_in_training(train, tmp_path, capsys):
    options = ["--word", "<x>", "--word-vectors", "2", "--word-like", "cat"]
    file = train(*options, preview_prompts=CAPTIONS, epochs=2, passes=15)
    assert f"--preset {tmp_path / 'start'} --textual-inversion {file}" in capsys.readouterr().out
    pipeline = TextToImage.from_preset(tmp_path / "start")
    before = [variable.numpy() for variable in pipeline.model.text_encoder.variables]
    pipeline.load_textual_inversion(file)
    preview = np.asarray(Image.open(tmp_path / "run/previews/epoch_0002.png"))
    assert gap(preview, image_grid(pipeline.generate(CAPTIONS, seed=0))) <= 3
    pipeline.model.text_encoder.words.clear()
    assert gap(preview, image_grid(pipeline.generate(CAPTIONS, seed=0))) > 5
    assert largest_change(before, [variable.numpy() for variable in pipeline.model.text_encoder.variables]) == 0.0


def test_one_step_moves_the_vectors_and_a_finished_run_is_kept(train, eagerly, capsys):
    options = ["--word", "<x>", "--word-vectors", "2", "--epochs", "1"]
    file = train(*options, passes=1)
    (vectors,) = load_file(file).values()
    assert vectors.shape == (2, 12) and np.abs(vectors[0] - vectors[1]).max() > 1e-4  # they started equal
    train(*options, passes=1)
    assert "finished already" in capsys.readouterr().out


def test_what_can_not_be_done_is_said_in_one_line(train, capsys):
    train("--word", "<y>", code=1)
    assert "`word` must be in captions of the images. Received: word='<y>'" in capsys.readouterr().err
    train("--word-like", "cat", code=2)
    assert "--word must be given with --word-vectors and --word-like" in capsys.readouterr().err
    train("--word", "<x>", "--lora-rank", "2", code=2)
    assert "`lora` must be empty where `textual_inversion` is not" in capsys.readouterr().err
