import sys
import types

import keras
import numpy as np
import pytest
from harness import tiny_text_encoder

from training.training_run import TimeLimit, fitting_batch_size, length, load_text_encoder, optimizer, parse


@pytest.mark.parametrize("steps", [1, 2, 40, 20_000])
def test_the_learning_rate_rises_to_its_peak_and_falls_to_nothing(steps):
    rate = optimizer(1e-3, steps, ema=0.9)._learning_rate
    warmup = min(500, steps // 10 + 1)
    assert float(rate(0)) == pytest.approx(1e-3 / warmup)
    assert float(rate(warmup)) == pytest.approx(1e-3)
    assert float(rate(max(steps, warmup + 1))) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("given, seed", [([], 0), (["--seed", "5"], 5)])
def test_the_seed_is_that_of_the_config_or_the_one_given(given, seed, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train", "--config", "my_pictures", "--output", str(tmp_path), *given])
    _, config = parse("")
    assert config.seed == seed
    drawn = float(keras.random.uniform(()))  # without a seed of its own: from that which `parse` set
    keras.utils.set_random_seed(seed)
    assert float(keras.random.uniform(())) == drawn


@pytest.mark.parametrize(
    "script, option",
    [
        ("train_autoencoder", "--data"),
        ("encode_latents", "--data"),
        ("train_gan", "--text-encoder"),
        ("train_vae_sampler", "--text-encoder"),
    ],
)
def test_a_forgotten_option_is_asked_for(script, option, tmp_path, run_script, capsys):
    with pytest.raises(SystemExit):
        run_script(script, "--config", "my_pictures", "--output", tmp_path / "run")
    assert f"required: {option}\n" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "option, value, message",
    [
        ("--config", "typo.py", "`--config` must be a file that exists. Received: 'typo.py'"),
        ("--epochs", "0", "argument --epochs: must be above zero. Received: 0"),
        ("--epochs", "many", "argument --epochs: invalid int value: 'many'"),
        ("--minutes", "-1", "argument --minutes: must be above zero. Received: -1"),
        ("--minutes", "nan", "argument --minutes: must be above zero. Received: nan"),
    ],
)
def test_a_wrong_option_is_a_usage_error(option, value, message, tmp_path, run_script, capsys):
    with pytest.raises(SystemExit):
        arguments = ["--config", "my_pictures", "--data", tmp_path, "--output", tmp_path / "run", option, value]
        run_script("train_autoencoder", *arguments)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_training_is_as_long_as_the_command_line_says_else_the_config():
    assert length(types.SimpleNamespace(minutes=None, epochs=None), 4) == (4, [])
    assert length(types.SimpleNamespace(minutes=None, epochs=7), 4) == (7, [])
    epochs, (limit,) = length(types.SimpleNamespace(minutes=2.0, epochs=None), 4)
    assert epochs > 1000 and limit.minutes == 2.0


def test_a_clock_ends_training(monkeypatch):
    now = iter([0.0, 30.0, 59.0, 60.0])
    monkeypatch.setattr("training.training_run.time.monotonic", lambda: next(now))
    limit = TimeLimit(minutes=1)
    limit.set_model(types.SimpleNamespace(stop_training=False))
    ended = []
    for step in range(3):
        limit.on_train_batch_end(step)
        ended.append(limit.model.stop_training)
    assert ended == [False, False, True]


@pytest.mark.parametrize(
    "devices, wanted, rows, size", [(1, 32, 21, 21), (8, 32, 100, 32), (8, 32, 21, 16), (3, 8, 8, 6)]
)
def test_batches_are_shared_evenly_by_the_devices(devices, wanted, rows, size, monkeypatch):
    share_batches(monkeypatch, devices)
    assert fitting_batch_size(wanted, rows) == size


@pytest.mark.parametrize("wanted, rows", [(32, 7), (7, 100)])
def test_a_batch_has_a_row_for_each_device(wanted, rows, monkeypatch):
    share_batches(monkeypatch, 8)
    with pytest.raises(ValueError, match=f"each of 8 devices. Received: {rows} rows, a batch size of {wanted}"):
        fitting_batch_size(wanted, rows)


def share_batches(monkeypatch, devices):
    """As `parse` does under JAX where there is more than one."""
    mesh = types.SimpleNamespace(devices=np.arange(devices))
    distribution = types.SimpleNamespace(device_mesh=mesh) if devices > 1 else None
    monkeypatch.setattr("keras.distribution.distribution", lambda: distribution)


@pytest.mark.parametrize("separator", [None, "and"])
def test_a_text_encoder_by_its_preset(separator, tmp_path):
    tiny = tiny_text_encoder()
    tiny.backbone.save_to_preset(tmp_path)
    tiny.tokenizer.save_to_preset(tmp_path)
    config = types.SimpleNamespace(dtype="float32", sequence_length=16, separator=separator)
    encoder = load_text_encoder(str(tmp_path), config)
    assert encoder.sequence_length == 16 and not encoder.trainable
    assert encoder.tokenize(["red and blue"])[0].tolist()[:5] == tiny.tokenize(["red and blue"])[0].tolist()[:5]
    assert encoder.separator_id == (separator and tiny.separator_id)
