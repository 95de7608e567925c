import subprocess
import sys

import keras
import pytest
from harness import arrays, assert_close, compile_quietly, largest_change, normal

from latentdiff.recipes.experiment import Experiment
from latentdiff.recipes.run import Run, optimizer


@pytest.mark.parametrize("steps", [1, 2, 40, 20_000])
def test_the_learning_rate_rises_to_its_peak_and_falls_to_nothing(steps):
    rate = optimizer(1e-3, steps, ema=0.9)._learning_rate
    warmup = min(500, steps // 10 + 1)
    assert float(rate(0)) == pytest.approx(1e-3 / warmup)
    assert float(rate(warmup)) == pytest.approx(1e-3)
    assert float(rate(max(steps, warmup + 1))) == pytest.approx(0.0, abs=1e-9)


def test_the_learning_rate_stays_or_falls_as_the_root_of_the_steps():
    stays, falls = (optimizer(1e-3, 20_000, 0.9, schedule=name)._learning_rate for name in ("constant", "inverse_sqrt"))
    assert [float(stays(step)) for step in (499, 500, 19_999)] == pytest.approx([1e-3] * 3)
    assert [float(falls(step)) for step in (249, 499, 1999, 199_999)] == pytest.approx([5e-4, 1e-3, 5e-4, 5e-5])


def test_gradients_of_two_batches_make_one_update():
    """One batch of twice the size is the independent side, for the weights and for their average."""
    data, results = normal(1, 8, 3), []
    for batch_size, accumulated in ((4, 1), (2, 2)):
        keras.utils.set_random_seed(0)
        dense = keras.layers.Dense(2, kernel_initializer="normal")
        model = keras.Sequential([keras.Input((3,)), dense])
        steps = 12 * accumulated
        adamw = optimizer(1e-2, steps, 0.8, schedule="constant", accumulated=accumulated)
        adamw._learning_rate.steps = 1  # no warm-up, which counts batches
        compile_quietly(model, optimizer=adamw, loss="mse")
        for start in range(0, steps * batch_size, batch_size):
            rows = slice(start % 8, start % 8 + batch_size)
            model.train_on_batch(data[rows], data[rows, :2])
        averages = [variable.value for variable in adamw._model_variables_moving_average]
        results.append([model.get_weights(), [arrays(average) for average in averages]])
    assert_close(results[0][0], results[1][0], 1e-6)
    assert largest_change(results[0][1], results[1][1]) < 0.2 * largest_change(results[0][1], results[0][0])


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
