import runpy
import sys

import keras
import numpy as np
import pytest
from PIL import Image
from tiny_run import CAPTIONS


@pytest.fixture
def run_script(monkeypatch):
    """Function (name, *arguments) that runs a training script as its command line does."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_module(f"training.{name}", run_name="__main__")

    return run


@pytest.fixture
def eagerly():
    """For a run of a few steps: TensorFlow does not trace them, which takes as long as twenty."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def script(tmp_path, run_script):
    """Function (name, *arguments) that runs a script with `config.py`; the pictures are in `mine`."""
    folder = tmp_path / "mine"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for row, caption in enumerate(CAPTIONS):
        pixels = np.broadcast_to(rng.integers(0, 256, 3), (8, 8, 3)).astype("uint8")  # of one colour each
        Image.fromarray(pixels).save(folder / f"{row}.png")
        (folder / f"{row}.txt").write_text(caption)

    def script(name, *arguments):
        run_script(name, "--config", tmp_path / "config.py", "--output", tmp_path / "run", *arguments)

    yield script
    keras.config.set_dtype_policy("float32")
