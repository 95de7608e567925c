"""`latentdiff train diffusion --lora-rank N`: an adapter for a preset, from a folder of images."""

import numpy as np
import pytest
from harness import gap, largest_change, tiny_text_to_image
from PIL import Image
from safetensors.numpy import load_file
from tiny_run import CAPTIONS, losses, write_experiment

from latentdiff import TextToImage
from latentdiff.data.images import image_grid
from latentdiff.recipes import lora as recipe


@pytest.fixture
def train(tmp_path, stage, folder):
    """Function (*options, **changes) that trains an adapter for the preset `start`; gives the path of its file."""
    tiny_text_to_image().save_to_preset(tmp_path / "start")

    def train(*options, code=0, **changes):
        write_experiment(tmp_path / "experiment.py", 1e-2, **{"preview_prompts": (), **changes})
        if not (tmp_path / "run").exists():
            stage("latents", "--data", folder, "--init", tmp_path / "start")
        stage("diffusion", "--init", tmp_path / "start", *options, code=code)
        return tmp_path / "run" / "lora.safetensors"

    return train


@pytest.mark.slow
def test_it_learns_and_its_file_does_in_the_preset_what_it_did_in_training(train, tmp_path, capsys):
    options = ["--lora-rank", "2", "--lora-alpha", "4", "--lora-targets", "linear,convolution"]
    file = train(*options, preview_prompts=CAPTIONS, epochs=2, passes=30)
    first, *_, last = losses(tmp_path / "run/lora/log.csv")
    assert last < 0.97 * first
    assert f"--preset {tmp_path / 'start'} --lora {file}" in capsys.readouterr().out
    pipeline = TextToImage.from_preset(tmp_path / "start")
    before = pipeline.model.unet.get_weights()
    name = pipeline.load_lora(file)
    assert set(pipeline.model.lora[name].alphas.values()) == {4.0}
    preview = np.asarray(Image.open(tmp_path / "run/previews/epoch_0002.png"))
    assert gap(preview, image_grid(pipeline.generate(CAPTIONS, seed=0))) <= 3  # float16 in the file
    pipeline.unload_lora()
    assert gap(preview, image_grid(pipeline.generate(CAPTIONS, seed=0))) > 5
    assert largest_change(before, pipeline.model.unet.get_weights()) == 0.0


@pytest.mark.slow
def test_an_interrupted_run_resumes_exactly(train, tmp_path, monkeypatch, eagerly):
    """Killed after the first of two epochs, it ends with the matrices of the run that was not."""
    options, few = ["--lora-rank", "2", "--epochs", "2"], {"passes": 2}
    expected = load_file(train(*options, **few))
    train_whole, saves = tmp_path / "run", []
    train_whole.rename(tmp_path / "whole")
    save = recipe.save_lora

    def save_and_stop(*args, **options):
        save(*args, **options)
        saves.append(args)
        if len(saves) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "save_lora", save_and_stop)
    train(*options, code=130, **few)
    resumed = load_file(train(*options, **few))
    assert len(saves) == 3 and resumed.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_allclose(resumed[key], values, atol=1e-3)  # sums of threads differ, and float16 rounds
    assert max(np.abs(values).max() for key, values in expected.items() if "lora_B" in key) > 0


def test_what_can_not_be_done_is_said_in_one_line(train, stage, tmp_path, capsys, eagerly):
    train("--lora-alpha", "4", code=2, passes=1, epochs=1)
    assert "--lora-rank must be given" in capsys.readouterr().err
    train("--lora-rank", "2", "--lora-targets", "bias", code=1)
    assert "`targets` must be one or some of" in capsys.readouterr().err
    stage("diffusion", "--text-encoder", "any", "--lora-rank", "2", code=2)
    assert "needs --init, and no --text-encoder" in capsys.readouterr().err
    tiny_text_to_image().save_to_preset(tmp_path / "other")
    train("--lora-rank", "2", lora={"ranks": 3}, code=2)
    assert "did you mean `rank`" in capsys.readouterr().err
