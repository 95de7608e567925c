import subprocess
import sys

import keras
import pytest

from latentdiff.recipes.experiment import Experiment
from latentdiff.recipes.run import Run, optimizer


@pytest.mark.parametrize("steps", [1, 2, 40, 20_000])
def test_the_learning_rate_rises_to_its_peak_and_falls_to_nothing(steps):
    rate = optimizer(1e-3, steps, ema=0.9)._learning_rate
    warmup = min(500, steps // 10 + 1)
    assert float(rate(0)) == pytest.approx(1e-3 / warmup)
    assert float(rate(warmup)) == pytest.approx(1e-3)
    assert float(rate(max(steps, warmup + 1))) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("seed", [0, 5])
def test_a_started_run_has_the_seed_and_the_dtype_of_its_experiment(seed, tmp_path):
    run = Run(Experiment(seed=seed, dtype="mixed_bfloat16"), tmp_path / "new" / "run")
    with run.started():
        assert keras.config.dtype_policy().name == "mixed_bfloat16" and run.output.is_dir()
        drawn = float(keras.random.uniform(()))  # without a seed of its own
    assert keras.config.dtype_policy().name == "float32"
    keras.utils.set_random_seed(seed)
    assert float(keras.random.uniform(())) == drawn


def test_training_is_as_long_as_the_run_says_else_the_experiment(tmp_path):
    experiment = Experiment()
    assert Run(experiment, tmp_path).length(4) == (4, [])
    assert Run(experiment, tmp_path, epochs=7).length(4) == (7, [])
    epochs, (limit,) = Run(experiment, tmp_path, minutes=2.0).length(4)
    assert epochs > 1000 and limit.minutes == 2.0


OTHER = """
import sys, time
from pathlib import Path
from latentdiff.recipes.run import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_two_processes_can_not_train_in_one_folder(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", OTHER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "locked\n"
        message = "must be the folder of one process.*Received: output="
        with pytest.raises(ValueError, match=message), Run(Experiment(), tmp_path).started():
            pytest.fail("the folder is locked")
    finally:
        other.kill()
        other.communicate()
    with Run(Experiment(), tmp_path).started():  # what a killed process had locked is free
        assert keras.config.dtype_policy().name == "float32"
