"""A stage that is finished says so when it is typed again, and does not start over."""

import json

import keras
import numpy as np
import pytest
from tiny_run import losses, save_text_encoder, write_experiment

from latentdiff.recipes import autoencoder as recipe

FEW = {name: 1 for name in ("autoencoder_epochs", "autoencoder_passes", "epochs", "passes")}


@pytest.fixture
def finished(tmp_path, stage, folder, eagerly):
    """Function that runs a stage; the first two are finished already."""
    write_experiment(tmp_path / "experiment.py", 1e-3, **FEW)
    save_text_encoder(tmp_path / "text")
    stage("autoencoder", "--data", folder)
    stage("latents", "--data", folder)
    arguments = {"autoencoder": ["--data", folder], "diffusion": ["--text-encoder", tmp_path / "text"]}
    return lambda name, *options, code=0: stage(name, *arguments[name], *options, code=code)


def test_typed_again_both_stages_say_that_they_are_finished(finished, tmp_path, capsys):
    run = tmp_path / "run"
    finished("diffusion")
    made = {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file() and path.name != ".lock"}
    assert not list(run.rglob("backup")) and not list(run.rglob(".draft-*"))
    capsys.readouterr()
    for name in ("autoencoder", "diffusion"):
        finished(name)
        assert "finished already: " in capsys.readouterr().out
    assert made == {
        path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file() and path.name != ".lock"
    }


def test_other_settings_are_refused_and_named(finished, tmp_path, capsys):
    finished("autoencoder", "--epochs", "2", code=1)
    assert "finished run of other settings: epochs is 1 there and 2 here" in capsys.readouterr().err
    write_experiment(tmp_path / "experiment.py", 1e-3, **FEW, batch_size=2)
    finished("autoencoder")  # that is a setting of the other stage


@pytest.mark.slow
def test_without_its_outcome_a_stage_starts_over(finished, tmp_path):
    (tmp_path / "run/autoencoder.keras").unlink()
    finished("autoencoder")
    assert (tmp_path / "run/autoencoder.keras").is_file()


@pytest.mark.slow
def test_what_breaks_off_after_training_goes_on_from_the_trained_weights(tmp_path, stage, folder, eagerly, monkeypatch):
    """Between the last epoch and the file of the outcome: the backups are still there."""
    write_experiment(tmp_path / "experiment.py", 1e-3, **FEW)

    def fail(*args):
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(recipe.Autoencoder, "measure_latents", fail)
        with pytest.raises(RuntimeError):
            stage("autoencoder", "--data", folder)
    assert not (tmp_path / "run/autoencoder/finished.json").exists()
    stage("autoencoder", "--data", folder)
    assert len(losses(tmp_path / "run/autoencoder/log.csv")) == 1
    assert json.loads((tmp_path / "run/autoencoder/finished.json").read_text())["epochs"] == 1
    stage("autoencoder", "--data", folder, "--output", tmp_path / "other")  # never cut
    made = [keras.saving.load_model(tmp_path / name / "autoencoder.keras") for name in ("run", "other")]
    for left, right in zip(made[0].get_weights(), made[1].get_weights(), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
