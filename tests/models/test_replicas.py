"""Steps that two replicas share, under TensorFlow's `MirroredStrategy`, are those of one device."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from harness import needs_tensorflow
from keras import ops

from latentdiff.models import replicas

TWO = """
import contextlib, json
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
from harness import normal, tiny_autoencoder, tiny_text_to_image

DATA = {
    "images": {"images": normal(1, 16, 8, 8, 3), "captions": ["a cat", "the red apple"] * 8},
    "autoencoder": {"images": normal(2, 16, 8, 8, 3).clip(-1.0, 1.0)},
}

def run(name, strategy):
    keras.utils.set_random_seed(2)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = tiny_autoencoder() if name == "autoencoder" else tiny_text_to_image(context_dropout=0.5).model
        options = {"use_ema": True, "ema_momentum": 0.9, "global_clipnorm": 1.0}
        model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9, **options))  # Adam enlarges what is rounded
    fit = {"epochs": 2, "batch_size": 8, "shuffle": False, "verbose": 0}
    losses = model.fit(DATA[name], **fit).history["loss"]
    losses += model.fit(DATA[name], **fit).history["loss"]
    return [*losses, model.evaluate(DATA[name], batch_size=8, verbose=0, return_dict=True)["loss"]]

mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
print(json.dumps({name: [run(name, strategy) for strategy in (None, mirrored)] for name in DATA}))
"""


@pytest.mark.slow
@needs_tensorflow
def test_two_replicas_have_the_losses_of_one_device():
    """Also where `fit` is called outside of the strategy's scope, and again."""
    paths = [Path(__file__).parents[1], *sys.path]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    run = subprocess.run([sys.executable, "-c", TWO], env=env, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    for name, (one, two) in json.loads(run.stdout.splitlines()[-1]).items():
        np.testing.assert_allclose(two, one, rtol=1e-5, err_msg=name)


def test_the_parts_of_a_batch_are_drawn_as_one(monkeypatch):
    whole = replicas.draw(keras.random.normal, (6, 2), 3)
    parts = []
    for index in range(2):
        monkeypatch.setattr(replicas, "place", lambda index=index: (index, 2))
        parts.append(replicas.draw(keras.random.normal, (3, 2), 3))
        assert float(replicas.share(ops.ones(()))) == 0.5
    np.testing.assert_array_equal(ops.convert_to_numpy(ops.concatenate(parts)), ops.convert_to_numpy(whole))
