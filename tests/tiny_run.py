"""A tiny experiment, and what belongs to it, for tests that run the training stages."""

import csv

import keras
import numpy as np
import pytest
from harness import tiny_text_encoder
from PIL import Image

from latentdiff import cli

CAPTIONS = ["a red apple", "a green cat", "the blue rocket", "a small cat"]
EXPERIMENT = """
from latentdiff.recipes.experiments import load_experiment

def get_experiment(quick=False):
    sizes = dict(widths=(8,), num_blocks=1, groups=4)
    return load_experiment("my_pictures", quick).replace(
        image_size=8,
        flip=False,
        autoencoder=dict(
            latent_channels=3, patch_size=2, middle_attention=False, perceptual_weight=0.0, latent_noise=0.25, **sizes
        ),
        network=dict(attention_levels=(), num_heads=2, pool_context=True, **sizes),
        noise_schedule=dict(kind="scaled_linear"),
        sequence_length=8,
        autoencoder_learning_rate=RATE,
        learning_rate=RATE,
        autoencoder_epochs=3,
        autoencoder_passes=5,
        epochs=3,
        passes=15,
        ema=0.5,
        preview_prompts=(),
        generate=dict(num_steps=3, guidance_scale=2.0),
    ).replace(**CHANGES)
"""


def write_experiment(path, learning_rate, **changes):
    path.write_text(EXPERIMENT.replace("RATE", str(learning_rate)).replace("CHANGES", repr(changes)))


def save_text_encoder(folder):
    encoder = tiny_text_encoder()
    encoder.backbone.save_to_preset(folder)
    encoder.tokenizer.save_to_preset(folder)
    return encoder


def losses(log):
    with open(log, newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


# === Fixtures ===


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
def folder(tmp_path):
    """A folder of four captioned images, each of one colour."""
    folder = tmp_path / "mine"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for row, caption in enumerate(CAPTIONS):
        pixels = np.broadcast_to(rng.integers(0, 256, 3), (8, 8, 3)).astype("uint8")
        Image.fromarray(pixels).save(folder / f"{row}.png")
        (folder / f"{row}.txt").write_text(caption)
    return folder


@pytest.fixture
def stage(tmp_path, folder):
    """Function (name, *arguments) that runs `latentdiff train NAME` with `experiment.py`; the run is in `run`."""

    def stage(name, *arguments, code=0):
        fixed = ["--experiment", tmp_path / "experiment.py", "--output", tmp_path / "run"]
        assert cli.main(["train", name, *map(str, [*fixed, *arguments])]) == code

    return stage
