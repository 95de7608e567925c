"""Training to look at in TensorBoard, on every backend. Needs TensorFlow and TensorBoard, which write the files."""

import importlib.util
import time

import keras
import numpy as np
from PIL import Image


class TensorBoard(keras.callbacks.Callback):
    """Writes losses, learning rate, throughput and previews after each epoch; `tensorboard --logdir FOLDER` shows them.

    It stands behind the callback that draws previews.

    Args:
        folder: Path that gets the event files.
        batches: `EpochDataset` that `fit` trains on.
        previews: Path of the folder of `epoch_0001.png`, ...

    Raises:
        ValueError: TensorFlow or TensorBoard is not installed.
    """

    async_safe = True  # it does nothing between steps: JAX need not wait for each

    def __init__(self, folder, batches, previews):
        super().__init__()
        self.folder, self.batches, self.previews = folder, batches, previews
        self.began, self.seen = 0.0, 0

    def on_train_begin(self, logs=None):
        self.summary = _summary()
        self.writer = self.summary.create_file_writer(str(self.folder))

    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        left = len(self.batches) / self.batches.num_steps  # of an epoch that is resumed within
        values = {
            **(logs or {}),
            "learning_rate": float(self.model.optimizer.learning_rate),
            "images_per_second": left * self.batches.num_images / (time.monotonic() - self.began),
            "images_seen": (epoch + 1) * self.batches.num_images,
        }
        self.seen = epoch + 1
        with self.writer.as_default(step=self.seen):
            for name, value in values.items():
                self.summary.scalar(name, value)
        self._show(self.seen)

    def on_train_end(self, logs=None):
        self._show(self.seen)  # the last ones are drawn when training ends
        self.writer.close()

    def _show(self, epoch):
        path = self.previews / f"epoch_{epoch:04}.png"
        if path.is_file():
            image = np.asarray(Image.open(path).convert("RGB"))[None]  # (1, h, w, 3)
            with self.writer.as_default(step=epoch):
                self.summary.image("previews", image)
        self.writer.flush()


def _summary():
    for name in ("tensorflow", "tensorboard"):  # the first writes the files, with parts of the second
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"--tensorboard needs {name}: pip install {name}. Received: no module {name}")
    import tensorflow as tf

    return tf.summary
