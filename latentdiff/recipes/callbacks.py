"""Keras callbacks for training."""

import logging
import time
from pathlib import Path

import keras
import numpy as np
from keras import ops

from latentdiff.data.images import image_grid, save_png

SHOWN_NAMES = 20
log = logging.getLogger(__name__)


class AveragedWeights(keras.callbacks.SwapEMAWeights):
    """Has the moving average in place of the weights from the end of each epoch to the beginning of the next.

    For `TrainableModel`s and an optimizer with `use_ema`. What stands behind it in the list of callbacks sees the
    average, and so does validation inside `fit`. Other than with `SwapEMAWeights(swap_on_epoch=True)` the weights
    themselves are never lost: training may stop at any epoch, and go on later.
    """

    def __init__(self):
        super().__init__(swap_on_epoch=True)

    def on_train_begin(self, logs=None):
        self.model.before_finalize = lambda: self.on_epoch_begin(None)

    def on_epoch_end(self, epoch, logs=None):
        if not self._ema_weights_in_model:
            self._swap_variables()
            self._ema_weights_in_model = True

    def _swap_variables(self):
        """To the bit, and for the weights that are trained now; Keras adds and subtracts, over all weights."""
        for variable, average in self.model.averages():
            value = np.array(ops.convert_to_numpy(variable.value))
            variable.assign(ops.copy(average.value))  # a copy, since JAX refuses to donate one buffer twice
            average.assign(value)


class Preview(keras.callbacks.Callback):
    """Writes a grid of generated images as training goes on: always the same prompts from the same initial noise.

    When training ends, the last epoch is drawn too, whatever `every` says. Put it behind `AveragedWeights()` to see the
    averaged weights.

    Args:
        pipeline: a `TextToImage` around the model that is trained.
        prompts: list of str.
        folder: where `epoch_0001.png`, ... go.
        every: epochs between two grids.
        seed: of the initial noise.
        generate: further arguments of `TextToImage.generate`.

    Attributes:
        images: the last ones, uint8 (n, height, width, 3), or None.
    """

    def __init__(self, pipeline, prompts, folder, every=1, seed=0, **generate):
        super().__init__()
        self.pipeline = pipeline
        self.prompts = list(prompts)
        self.folder = Path(folder)
        self.every = every
        self.generate = {"seed": seed, **generate}
        self.undrawn = self.images = None

    def on_epoch_end(self, epoch, logs=None):
        self.undrawn = epoch + 1
        if self.undrawn % self.every == 0:
            self._draw()

    def on_train_end(self, logs=None):
        if self.undrawn is not None:
            self._draw()

    def _draw(self):
        self.images = self.pipeline.generate(self.prompts, **self.generate)
        save_png(self.folder / f"epoch_{self.undrawn:04}.png", image_grid(self.images), self.generate)
        self.undrawn = None


class TimeLimit(keras.callbacks.Callback):
    """Ends training after so many minutes in `fit`. The first step, which compiles, does not count.

    JAX waits for each step then: what it had queued up would make the clock late.
    """

    def __init__(self, minutes):
        super().__init__()
        self.minutes = minutes
        self.end = None

    def on_train_batch_end(self, batch, logs=None):
        self.end = self.end or time.monotonic() + 60 * self.minutes
        if time.monotonic() >= self.end:
            self.model.stop_training = True


class StopAtNaN(keras.callbacks.Callback):
    """Ends training with a ValueError when the loss is no finite number any more; names the images of that batch.

    It must stand in front of what writes backups.

    Args:
        batches: `EpochDataset` that `fit` trains on.
        steps: training steps in one call, of which any may be to blame.
    """

    async_safe = True  # JAX need not wait for each step

    def __init__(self, batches, steps=1):
        super().__init__()
        self.batches, self.steps = batches, steps
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss", 0.0)  # the mean since the epoch began
        if np.isfinite(loss):
            return
        last, first = self.batches.start + batch, self.batches.start + max(0, batch + 1 - self.steps)
        names = [name for index in range(first, last + 1) for name in self.batches.names(index)]
        told = ", ".join(names[:SHOWN_NAMES]) + (f" and {len(names) - SHOWN_NAMES} more" * (len(names) > SHOWN_NAMES))
        raise ValueError(
            f"`loss` must stay finite: a lower learning rate may help. Received: {loss} in epoch {self.epoch + 1}, "
            f"step {last + 1}, of {told}"
        )


class Progress(keras.callbacks.Callback):
    """Logs how far training is: at the start where it resumes, every half minute the step, after each epoch the losses.

    Args:
        batches: `EpochDataset` that `fit` trains on.
        epochs: epochs of the whole run; None if a clock ends it.
        every: seconds between two lines within an epoch.
    """

    async_safe = True  # JAX need not wait for each step

    def __init__(self, batches, epochs=None, every=30.0):
        super().__init__()
        self.num_steps, self.epochs, self.every = batches.num_steps, epochs, every
        self.images = batches.num_images / batches.num_steps  # a step
        self.epoch, self.first, self.told = 0, None, None

    def on_epoch_begin(self, epoch, logs=None):
        if self.told is None:
            log.info(f"resuming after epoch {epoch}" if epoch else "starting; the first step compiles")
        self.epoch = epoch
        self.first, self.told = None, time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        now, step = time.monotonic(), batch + 1
        self.first = self.first or (now, step)  # without the time to compile
        if now - self.told >= self.every and step > self.first[1]:
            self.told = now
            pace = (now - self.first[0]) / (step - self.first[1])
            rate = f"{1000 * pace:.0f} ms a step, {self.images / pace:.1f} images/s"
            log.info("%s, step %d of %d, %s%s", self._name(), step, self.num_steps, rate, self._left(pace, step))

    def on_epoch_end(self, epoch, logs=None):
        losses = ", ".join(f"{name} {value:.4g}" for name, value in (logs or {}).items())
        pace = None
        if self.first and self.num_steps > self.first[1]:
            pace = (time.monotonic() - self.first[0]) / (self.num_steps - self.first[1])
        log.info("%s: %s%s", self._name(), losses, self._left(pace, self.num_steps))

    def _name(self):
        return f"epoch {self.epoch + 1}" + (f" of {self.epochs}" if self.epochs else "")

    def _left(self, pace, step):
        """The time that is left, in words, if `pace`, seconds a step, and the number of epochs are known."""
        if pace is None or self.epochs is None:
            return ""
        seconds = pace * ((self.epochs - self.epoch) * self.num_steps - step)
        return f", {seconds:.0f} s left" if seconds < 90 else f", {seconds / 60:.0f} min left"
