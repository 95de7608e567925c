"""Backups of a run: it goes on as if nothing had happened, whatever moment it was killed at."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from harness import assert_close, compile_quietly, first_fast, normal
from keras import ops

from latentdiff.data.batches import Batches
from latentdiff.models.trainable_model import TrainableModel
from latentdiff.recipes.backup import Backup, BackupWithinEpoch, Log, differences
from latentdiff.recipes.callbacks import AveragedWeights


class Dropping(TrainableModel):
    """Two layers with dropout between them."""

    def __init__(self, width=8, dropout=0.5, **kwargs):
        super().__init__(**kwargs)
        self.first, self.last = keras.layers.Dense(width, name="first"), keras.layers.Dense(1, name="last")
        self.dropout = keras.layers.Dropout(dropout, seed=3)
        self.seed_generator = keras.random.SeedGenerator(0)
        self.first.build((None, 4))
        self.last.build((None, width))
        self.built = True

    def call(self, data, training=False):
        return self.last(self.dropout(self.first(data["x"]), training=training))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.square(y_pred - x["x"][:, :1]))


def make(width=8, dropout=0.5):
    keras.utils.set_random_seed(2)
    optimizer = keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.9)
    return compile_quietly(Dropping(width, dropout), optimizer=optimizer)


def fit(model, folder, epochs=4, callbacks=(), settings=None, within_epoch=None):
    batches = Batches({"x": normal(1, 16, 4)}, batch_size=4)
    backups = [Backup(folder / "backup", settings, batches)]
    if within_epoch is not None:
        backups.append(BackupWithinEpoch(folder / "backup", settings, batches, within_epoch))
    in_order = [batches.epoch_callback(), Log(folder / "log.csv"), *backups, AveragedWeights(), *callbacks]
    return model.fit(batches, epochs=epochs, shuffle=False, verbose=0, callbacks=in_order).history["loss"]


class Stop(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


def stopped(folder, epoch=2, **options):
    with pytest.raises(KeyboardInterrupt):
        fit(make(), folder, callbacks=[Stop(epoch)], **options)


def rows(folder):
    with open(folder / "log.csv", newline="") as file:
        return [(int(row["epoch"]), float(row["loss"])) for row in csv.DictReader(file)]


# === Laws ===


def test_a_resumed_run_is_the_whole_one(tmp_path):
    whole, resumed = make(), make()
    losses = fit(whole, tmp_path / "whole")
    stopped(tmp_path / "cut")
    assert sorted(path.name for path in (tmp_path / "cut/backup").iterdir()) == ["epoch_00002", "epoch_00003"]
    assert len(fit(resumed, tmp_path / "cut")) == 1
    assert_close(resumed.get_weights(), whole.get_weights(), 1e-6)
    assert_close(whole._before_average(), resumed._before_average(), 1e-6)
    np.testing.assert_allclose(rows(tmp_path / "cut"), rows(tmp_path / "whole"), rtol=1e-5)
    np.testing.assert_allclose(rows(tmp_path / "whole"), list(enumerate(losses)), rtol=1e-5)


class StopAtStep(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (2, 1):
            raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_run_resumes_in_the_middle_of_an_epoch(tmp_path):
    whole, resumed = make(), make()
    fit(whole, tmp_path / "whole", within_epoch=0.0)
    with pytest.raises(KeyboardInterrupt):
        fit(make(), tmp_path / "cut", callbacks=[StopAtStep()], within_epoch=0.0)
    names = sorted(path.name for path in (tmp_path / "cut/backup").iterdir())
    assert names == ["epoch_00002_step_00000001", "epoch_00002_step_00000002"]
    steps = []
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    assert len(fit(resumed, tmp_path / "cut", callbacks=[count], within_epoch=1e9)) == 2
    assert steps == [0, 1, 0, 1, 2, 3]
    assert_close(resumed.get_weights(), whole.get_weights(), 1e-6)
    assert_close(whole._before_average(), resumed._before_average(), 1e-6)
    assert [epoch for epoch, _ in rows(tmp_path / "cut")] == [0, 1, 2, 3]
    np.testing.assert_allclose(rows(tmp_path / "cut")[3], rows(tmp_path / "whole")[3], rtol=1e-5)
    names = sorted(path.name for path in (tmp_path / "cut/backup").iterdir())
    assert names == ["epoch_00003", "epoch_00004"]


KILLED = """
import sys
from pathlib import Path
from killing import Killer
from test_backup import fit, make

at, folder = int(sys.argv[1]), Path(sys.argv[2])
model = make()
killer = Killer(folder, at)
fit(model, folder)
print(killer.count)
"""


def run_until(count, folder):
    paths = [Path(__file__).parent, Path(__file__).parents[1], *sys.path]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", KILLED, str(count), str(folder)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_run_killed_again_and_again_ends_as_the_whole_one(tmp_path):
    """Each time at another moment, mostly while it writes a backup or the log: progress is never lost."""
    whole, resumed = make(), make()
    fit(whole, tmp_path / "whole")
    counts, epochs = [7, 13, 18, 30], []
    for count in counts:
        process = run_until(count, tmp_path / "cut")
        assert process.returncode == -9, (count, process.returncode, process.stdout, process.stderr[-2000:])
        backups = sorted((tmp_path / "cut/backup").glob("epoch_*"))
        epochs.append(int(backups[-1].name[-5:]) if backups else 0)
    assert epochs == sorted(epochs) and epochs[-1] >= 1
    left = fit(resumed, tmp_path / "cut")
    assert len(left) == 4 - epochs[-1]
    assert_close(resumed.get_weights(), whole.get_weights(), 1e-6)
    assert [epoch for epoch, _ in rows(tmp_path / "cut")] == [0, 1, 2, 3]
    np.testing.assert_allclose(rows(tmp_path / "cut"), rows(tmp_path / "whole"), rtol=1e-5)


# === Errors ===


DAMAGES = ["weights cut", "weights changed", "weights gone", "state empty", "state gone"]


@pytest.mark.parametrize("damage", first_fast(DAMAGES))
def test_a_damaged_backup_is_passed_over_and_named(damage, tmp_path, caplog):
    whole, resumed = make(), make()
    fit(whole, tmp_path / "whole")
    stopped(tmp_path)
    last = tmp_path / "backup" / "epoch_00003"
    path = last / ("model.weights.h5" if damage.startswith("weights") else "state.json")
    content = path.read_bytes()
    if damage.endswith("gone"):
        path.unlink()
    elif damage.endswith("changed"):
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    else:
        path.write_bytes(content[: len(content) // 2] if damage.endswith("cut") else b"")
    assert len(fit(resumed, tmp_path)) == 2
    assert [str(last) in message and "passed over" in message for message in caplog.messages] == [True]
    assert_close(resumed.get_weights(), whole.get_weights(), 1e-6)
    assert [epoch for epoch, _ in rows(tmp_path)] == [0, 1, 2, 3]


def test_when_all_backups_are_damaged_training_starts_over_and_keeps_the_new_ones(tmp_path, caplog):
    stopped(tmp_path)
    for path in tmp_path.glob("backup/*/state.json"):
        path.write_text("{}")
    stopped(tmp_path, epoch=0)
    assert len(caplog.messages) == 2
    assert [path.name for path in (tmp_path / "backup").iterdir()] == ["epoch_00001"]


@pytest.mark.parametrize(
    "settings, told",
    [
        (({"network": {"widths": [8]}}, {"network": {"widths": [9]}}), r"widths is \[8\] there and \[9\] here"),
        (({}, {}), r"shape \(4, 8\) there and \(4, 9\) here"),
    ],
)
def test_other_sizes_are_told_in_one_line(settings, told, tmp_path):
    stopped(tmp_path, settings=settings[0])
    with pytest.raises(ValueError, match=f"`experiment` must have the sizes.*{told}.*Received: ") as error:
        fit(make(width=9), tmp_path, settings=settings[1])
    assert len(str(error.value)) < 600 and "\n" not in str(error.value)


def test_a_backup_of_an_earlier_version_is_named(tmp_path, caplog):
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "training_metadata.json").write_text(json.dumps({"epoch": 2, "batch": 0}))
    assert len(fit(make(), tmp_path, epochs=1)) == 1
    assert "earlier version" in caplog.text


def test_half_a_line_of_the_log_is_dropped(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss\n0,0.5\n1,0.2")
    log = Log(tmp_path / "log.csv")
    log.on_train_begin()
    log.on_epoch_begin(1)
    log.on_epoch_end(1, {"loss": 0.25})
    assert rows(tmp_path) == [(0, 0.5), (1, 0.25)]


def test_differences():
    there, here = {"a": 1, "b": {"c": 2, "d": 3}, "e": None}, {"a": 1, "b": {"c": 2, "d": 4}, "e": 5}
    assert differences(there, here) == "d is 3 there and 4 here, e is None there and 5 here"
    assert differences(there, dict(there)) == ""
