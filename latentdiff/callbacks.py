"""Keras callbacks for training."""

from pathlib import Path

import keras

from latentdiff.images import image_grid, save_png


class Preview(keras.callbacks.Callback):
    """Writes a grid of pictures as training goes on: always the same prompts from the same static.

    Put it behind `keras.callbacks.SwapEMAWeights(swap_on_epoch=True)` to see the averaged weights.

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

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            pictures = self.pipeline.generate(self.prompts, **self.generate)
            save_png(self.folder / f"epoch_{epoch + 1:04}.png", image_grid(pictures), self.generate)
