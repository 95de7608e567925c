"""Averages of many lengths of a training run, and presets made with them."""

import numpy as np
import pytest
from harness import arrays, tiny_text_to_image
from safetensors.numpy import load_file
from tiny_run import write_experiment

from latentdiff import TextToImage
from latentdiff.models.power_averages import mixing_coefficients


@pytest.fixture
def trained(tmp_path, stage, folder, eagerly):
    """The folder of a run of three epochs that kept averages of two lengths."""
    tiny_text_to_image().save_to_preset(tmp_path / "start")
    write_experiment(tmp_path / "experiment.py", 1e-2, passes=2, average_lengths=(0.05, 0.1), ema_half_life=8.0)
    stage("latents", "--data", folder, "--init", tmp_path / "start")
    stage("diffusion", "--init", tmp_path / "start")
    return tmp_path / "run"


def test_a_preset_is_written_with_averages_of_any_length(trained, stage, capsys):
    kept = [load_file(path) for path in sorted((trained / "averages").glob("epoch_*.safetensors"))]
    assert len(kept) == 3
    for length in (0.05, 0.08):
        stage("average", "--length", length)
        assert f"--preset {trained / f'preset_average_{length}'}" in capsys.readouterr().out
        network = TextToImage.from_preset(trained / f"preset_average_{length}").model.network
        coefficients = mixing_coefficients(np.repeat([2, 4, 6], 2), [0.05, 0.1] * 3, 6, length)
        for variable in network.trainable_variables:
            values = [part[f"{index}/{variable.path}"].astype("float32") for part in kept for index in (0, 1)]
            expected = sum(weight * value for weight, value in zip(coefficients, values, strict=True))
            np.testing.assert_allclose(arrays(variable), expected, atol=2e-3)  # float16 in the preset


def test_a_run_without_averages_says_so(tmp_path, stage, capsys):
    write_experiment(tmp_path / "experiment.py", 1e-2)
    stage("average", "--length", 0.1, code=1)
    assert "`folder` must hold averages: train with `average_lengths`" in capsys.readouterr().err
