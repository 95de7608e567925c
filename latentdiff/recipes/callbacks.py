"""Keras callbacks for training."""

from pathlib import Path

import keras

from latentdiff.data.images import image_grid, save_png


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


class Preview(keras.callbacks.Callback):
    """Writes a grid of pictures as training goes on: always the same prompts from the same static.

    When training ends, the last epoch is drawn too, whatever `every` says. Put it behind `AveragedWeights()` to see the
    averaged weights.

    Args:
        pipeline: a `TextToImage` around the model that is trained.
        prompts: list of str.
        folder: where `epoch_0001.png`, ... go.
        every: epochs between two grids.
        seed: of the static.
        generate: further arguments of `TextToImage.generate`.
    """

    def __init__(self, pipeline, prompts, folder, every=1, seed=0, **generate):
        super().__init__()
        self.pipeline = pipeline
        self.prompts = list(prompts)
        self.folder = Path(folder)
        self.every = every
        self.generate = {"seed": seed, **generate}
        self.undrawn = None

    def on_epoch_end(self, epoch, logs=None):
        self.undrawn = epoch + 1
        if self.undrawn % self.every == 0:
            self._draw()

    def on_train_end(self, logs=None):
        if self.undrawn is not None:
            self._draw()

    def _draw(self):
        pictures = self.pipeline.generate(self.prompts, **self.generate)
        save_png(self.folder / f"epoch_{self.undrawn:04}.png", image_grid(pictures), self.generate)
        self.undrawn = None
