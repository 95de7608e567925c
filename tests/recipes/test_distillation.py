"""`latentdiff train distillation`: fewer steps for a preset, as a preset or as an adapter, from a folder of images."""

import numpy as np
import pytest
from harness import gap, tiny_text_to_image
from PIL import Image
from safetensors.numpy import load_file
from tiny_run import CAPTIONS, losses, write_experiment

from latentdiff import TextToImage
from latentdiff.data.images import image_grid
from latentdiff.recipes import distillation as recipe
from latentdiff.recipes.experiment import Experiment

SAMPLER = {"name": "dpmpp_2m", "temperature": 0.5}


@pytest.fixture
def train(tmp_path, stage, folder):
    """Function (*options, **changes) that distils the preset `start`; gives the folder of the run."""
    pipeline = tiny_text_to_image()
    pipeline.sampler = SAMPLER
    pipeline.save_to_preset(tmp_path / "start")

    def train(*options, code=0, **changes):
        settings = {"preview_prompts": CAPTIONS, "distilled_steps": (2, 1), "epochs": 1, "passes": 2, **changes}
        write_experiment(tmp_path / "experiment.py", 1e-2, **settings)
        if not (tmp_path / "run").exists():
            stage("latents", "--data", folder, "--init", tmp_path / "start")
        stage("distillation", "--init", tmp_path / "start", *options, code=code)
        return tmp_path / "run"

    return train


def drawn(pipeline):
    return image_grid(pipeline.generate(CAPTIONS, seed=0))


def test_an_adapter_does_in_the_preset_what_it_did_in_training(train, tmp_path, eagerly, capsys):
    run = train("--lora-rank", "2", "--lora-targets", "linear,convolution", "--tensorboard", distilled_steps=(1,))
    assert list((run / "steps_1/tensorboard").glob("events.*"))
    assert f"--lora {run / 'steps_1.safetensors'} --sampler ddim --num-steps 1" in capsys.readouterr().out
    pipeline = recipe.few_step_pipeline(TextToImage.from_preset(tmp_path / "start"), 1)
    assert pipeline.sampler == {"name": "ddim", "temperature": 0.5} and pipeline.guidance_scale == 1.0
    before = drawn(pipeline)
    pipeline.load_lora(run / "steps_1.safetensors")
    preview = np.asarray(Image.open(run / "previews/epoch_0001.png"))
    assert gap(preview, drawn(pipeline)) <= 3 < gap(preview, before)  # float16 in the file


@pytest.mark.slow
def test_a_whole_network_becomes_a_preset_for_few_steps(train):
    run = train()
    pipeline = TextToImage.from_preset(run / "steps_1")
    assert (pipeline.num_steps, pipeline.guidance_scale, pipeline.sampler["name"]) == (1, 1.0, "ddim")
    assert type(pipeline.model).__name__ == "LatentDiffusion"
    assert gap(np.asarray(Image.open(run / "previews/epoch_0001.png")), drawn(pipeline)) <= 3


@pytest.mark.slow
def test_an_interrupted_run_resumes_in_its_phase(train, tmp_path, monkeypatch, eagerly):
    expected = load_file(train("--lora-rank", "2") / "steps_1.safetensors")
    (tmp_path / "run").rename(tmp_path / "whole")
    save, saves = recipe.save_lora, []

    def save_and_stop(path, *args, **options):
        save(path, *args, **options)
        saves.append(path.stem)
        if len(saves) == 3:  # the first epoch of the second phase
            raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "save_lora", save_and_stop)
    train("--lora-rank", "2", code=130)
    resumed = load_file(train("--lora-rank", "2") / "steps_1.safetensors")
    assert saves == ["steps_2", "steps_2", "steps_1", "steps_1"]
    for key, values in expected.items():
        np.testing.assert_allclose(resumed[key], values, atol=1e-3)  # sums of threads differ, and float16 rounds
    assert len(losses(tmp_path / "run/steps_2/log.csv")) == 1


def test_a_preset_is_needed(stage, tmp_path, capsys):
    write_experiment(tmp_path / "experiment.py", 1e-2)
    stage("distillation", code=2)
    assert "--init must be given" in capsys.readouterr().err


@pytest.mark.parametrize("steps", [(8, 3), (), (2.0, 1)])
def test_phases_halve_the_steps(steps):
    with pytest.raises(ValueError, match="`distilled_steps`"):
        Experiment(distilled_steps=steps)
