"""`latentdiff train` before and around the recipes: options, errors in one line, the way from stage to stage."""

import pytest
from harness import tiny_autoencoder, tiny_text_to_image
from tiny_run import write_experiment

from latentdiff import cli
from latentdiff.recipes import autoencoder as recipe

FOLDER = ["--output", "run"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*words):
    try:
        return cli.main(["train", *map(str, words)])
    except SystemExit as stop:
        return stop.code


@pytest.mark.parametrize(
    "words, message",
    [
        (["autoencoder", *FOLDER], "required: --data"),
        (["latents", *FOLDER], "required: --data"),
        (["autoencoder", "--data", "mine"], "required: --output"),
        (["autoencoder", *FOLDER, "--data", "mine", "--epochs", "0"], "--epochs: must be a whole number of at least 1"),
        (["autoencoder", *FOLDER, "--data", "mine", "--epochs", "many"], "--epochs: must be a whole number"),
        (["diffusion", *FOLDER, "--minutes", "-1"], "--minutes: must be a number above 0. Received: '-1'"),
        (["diffusion", *FOLDER, "--minutes", "nan"], "--minutes: must be a number above 0"),
        (["diffusion", *FOLDER, "--minutes", "inf"], "--minutes: must be a number above 0"),
        (["diffusion", *FOLDER, "--seed", "-1"], "--seed: must be a whole number from 0"),
        (["latents", *FOLDER, "--data", "mine", "--epochs", "3"], "unrecognized arguments: --epochs 3"),
        (["diffusion", *FOLDER, "--data", "mine"], "unrecognized arguments: --data mine"),
        (["diffusion", *FOLDER], "--init or --text-encoder must be given"),
        (["autoencoder", *FOLDER, "--data", "nowhere"], "--data must exist. Received: nowhere"),
        (["autoencoder", *FOLDER, "--data", "mine", "--init", "nothing"], "`preset` must be"),
        (["autoencoder", *FOLDER, "--data", "mine", "--metrics", "mine"], "--metrics must be a folder with lpips"),
        (["autoencoder", "--output", "file", "--data", "mine"], "--output must be a folder"),
        (["latents", *FOLDER, "--data", "mine", "--experiment", "my_picture"], "Did you mean 'my_pictures'"),
        (["latents", *FOLDER, "--data", "mine", "--experiment", "typo.py"], "must be a file that exists"),
    ],
)
def test_what_can_not_be_done_is_said_in_one_line(words, message, tmp_path, folder, capsys):
    (tmp_path / "file").touch()
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_a_missing_stage_names_the_command_to_run_first(tmp_path, folder, capsys):
    write_experiment(tmp_path / "tiny.py", 1e-3)
    options = [*FOLDER, "--experiment", "tiny.py"]
    for words in (["latents", "--data", "mine"], ["diffusion", "--text-encoder", "any"]):
        assert run(*words, *options) == 1
        assert "run `latentdiff train autoencoder` first" in capsys.readouterr().err
    tiny_autoencoder().save(tmp_path / "run" / "autoencoder.keras")
    assert run("diffusion", "--text-encoder", "any", *options) == 1
    assert "run `latentdiff train latents` first" in capsys.readouterr().err


def test_a_preset_of_other_sizes_is_refused_in_one_line(tmp_path, folder, capsys, eagerly):
    write_experiment(tmp_path / "tiny.py", 1e-3, autoencoder={"latent_channels": 3, "widths": (4,), "groups": 4})
    tiny_text_to_image().save_to_preset(tmp_path / "start")
    assert run("autoencoder", "--data", "mine", "--init", "start", "--experiment", "tiny.py", *FOLDER) == 1
    assert "`autoencoder` of the experiment must have the sizes of the preset" in capsys.readouterr().err


def test_an_interrupted_run_says_how_to_resume(monkeypatch, folder, capsys):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "train_autoencoder", stop)
    assert run("autoencoder", "--data", "mine", *FOLDER) == 130
    assert capsys.readouterr().err.strip().endswith("the same command resumes after the last finished epoch")


@pytest.mark.parametrize("stage", ["autoencoder", "latents", "diffusion"])
def test_help_has_only_options_that_the_stage_uses(stage, capsys):
    assert run(stage, "--help") == 0
    text = capsys.readouterr().out
    assert ("--data" in text) == (stage != "diffusion") and ("--epochs" in text) == (stage != "latents")
    assert ("--metrics" in text) == (stage == "autoencoder") and ("--text-encoder" in text) == (stage == "diffusion")
