import logging
import types

import keras
import numpy as np
import pytest
from harness import compile_quietly, gap, normal, tiny_text_to_image
from keras import ops
from PIL import Image

from latentdiff.data.batches import Batches
from latentdiff.data.images import image_grid, read_settings
from latentdiff.models.trainable_model import TrainableModel
from latentdiff.recipes.callbacks import AveragedWeights, Preview, Progress, StopAtNaN, TimeLimit

FOUR_STEPS = Batches({"x": np.zeros(8)}, batch_size=2)


def test_preview(tmp_path):
    """Every second epoch, the images of the weights at that moment, with their settings."""
    pipeline, prompts = tiny_text_to_image(), ["a cat", "a red apple"]
    preview = Preview(pipeline, prompts, tmp_path / "previews", every=2, seed=3, num_steps=2)
    for epoch in range(4):
        preview.on_epoch_end(epoch, {})
        for variable in pipeline.model.unet.trainable_variables:
            variable.assign(1.1 * variable)
    preview.on_train_end({})  # the last epoch was drawn
    paths = sorted((tmp_path / "previews").iterdir())
    assert [path.name for path in paths] == ["epoch_0002.png", "epoch_0004.png"]
    early, late = (np.asarray(Image.open(path)).astype(int) for path in paths)
    assert np.abs(early - late).max() > 2
    for variable in pipeline.model.unet.trainable_variables:
        variable.assign(variable / 1.1)
    expected = image_grid(pipeline.generate(prompts, seed=3, num_steps=2))
    assert np.abs(late - expected).max() <= 2
    assert read_settings(paths[0]) == {"seed": "3", "num_steps": "2"}


@pytest.mark.slow
def test_the_last_epoch_is_drawn_with_the_averaged_weights(tmp_path):
    pipeline = tiny_text_to_image()
    data = {"latents": normal(0, 4, 4, 4, 3), "captions": ["a cat"] * 4}
    preview = Preview(pipeline, ["a cat"], tmp_path, every=2, num_steps=2)
    compile_quietly(pipeline.model, optimizer=keras.optimizers.Adam(0.03, use_ema=True, ema_momentum=0.5))
    pipeline.model.fit(data, epochs=3, batch_size=2, verbose=0, callbacks=[AveragedWeights(), preview])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_0002.png", "epoch_0003.png"]
    late = np.asarray(Image.open(tmp_path / "epoch_0003.png"))
    assert gap(late, pipeline.generate(["a cat"], seed=0, num_steps=2)[0]) == 0
    for variable, value in zip(pipeline.model.trainable_variables, pipeline.model._before_average(), strict=True):
        variable.assign(value)
    assert gap(late, pipeline.generate(["a cat"], seed=0, num_steps=2)[0]) > 2


def test_a_clock_ends_training(monkeypatch):
    now = iter([0.0, 30.0, 59.0, 60.0])
    monkeypatch.setattr("latentdiff.recipes.callbacks.time.monotonic", lambda: next(now))
    limit = TimeLimit(minutes=1)
    limit.set_model(types.SimpleNamespace(stop_training=False))
    ended = []
    for step in range(3):
        limit.on_train_batch_end(step)
        ended.append(limit.model.stop_training)
    assert ended == [False, False, True]


def test_progress_tells_the_step_the_losses_and_the_time_left(monkeypatch, caplog):
    """Two epochs of 4 steps, a step each 10 seconds; the first, which compiles, takes 100."""
    caplog.set_level(logging.INFO, logger="latentdiff")
    now = 0.0
    monkeypatch.setattr("latentdiff.recipes.callbacks.time.monotonic", lambda: now)
    progress = Progress(FOUR_STEPS, epochs=2, every=15.0)
    for epoch in range(2):
        progress.on_epoch_begin(epoch)
        for step in range(4):
            now += 10.0 if step else 100.0
            progress.on_train_batch_end(step)
        progress.on_epoch_end(epoch, {"loss": 0.5, "val_loss": 0.25})
    assert caplog.messages == [
        "starting; the first step compiles",
        "epoch 1 of 2, step 2 of 4, 10000 ms a step, 0.2 images/s, 60 s left",
        "epoch 1 of 2, step 4 of 4, 10000 ms a step, 0.2 images/s, 40 s left",
        "epoch 1 of 2: loss 0.5, val_loss 0.25, 40 s left",
        "epoch 2 of 2, step 2 of 4, 10000 ms a step, 0.2 images/s, 20 s left",
        "epoch 2 of 2, step 4 of 4, 10000 ms a step, 0.2 images/s, 0 s left",
        "epoch 2 of 2: loss 0.5, val_loss 0.25, 0 s left",
    ]


def test_progress_says_that_a_run_resumes(caplog):
    caplog.set_level(logging.INFO, logger="latentdiff")
    progress = Progress(FOUR_STEPS)
    progress.on_epoch_begin(3)
    progress.on_epoch_end(3, {"loss": 0.5})
    assert caplog.messages == ["resuming after epoch 3", "epoch 4: loss 0.5"]


class Weighed(TrainableModel):
    """One weight, whose loss is finite where the data are."""

    def __init__(self):
        super().__init__()
        self.weight = keras.layers.Dense(1)
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, data, training=False):
        return self.weight(data["x"])

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.square(y_pred))


@pytest.mark.parametrize("steps", [1, 2])
def test_training_ends_where_the_loss_is_no_number_and_names_the_images(steps):
    """The order of an epoch is the independent side: the batch of the bad row, or those of its call, are named."""
    values = np.ones((12, 1), "float32")
    values[5] = np.nan
    batches = Batches({"x": values}, batch_size=2, seed=1, name="image {}".format)
    batches.set_epoch(0)
    order = batches.reader.order(0).reshape(6, 2)
    bad = int(np.flatnonzero((order == 5).any(axis=1))[0])
    last = bad // steps * steps + steps - 1
    expected = ", ".join(f"image {row}" for row in order[last + 1 - steps : last + 1].ravel())
    ended = []
    after = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ended.append(epoch))
    model = compile_quietly(Weighed(), steps_per_execution=steps)
    callbacks = [batches.epoch_callback(), StopAtNaN(batches, steps), after]
    with pytest.raises(ValueError, match=f"`loss` must stay finite.*nan in epoch 1, step {last + 1}, of {expected}$"):
        model.fit(batches, epochs=3, shuffle=False, verbose=0, callbacks=callbacks)
    assert not ended  # so no backup is written either
