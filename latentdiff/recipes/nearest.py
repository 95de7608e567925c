"""The training images that are most like those that a model makes: whether it invents, or repeats."""

import numpy as np

from latentdiff.data.images import image_grid, save_png
from latentdiff.models.coding import compiled_coders

COUNT, CHUNK = 3, 4096


def save_nearest(path, model, images, latents):
    """Writes a grid: each made image, and the `COUNT` training images beside it whose latents are nearest.

    Training images are shown as the autoencoder decodes them.

    Args:
        path: of the PNG.
        model: `LatentDiffusion`.
        images: uint8 (n, height, width, 3), made ones.
        latents: float (m, k, h, w, channels), of the training images, those as they are in front of their variations.
    """
    encode, decode = compiled_coders(model, None)
    made = np.asarray(encode(images))
    rows = nearest_rows(made, latents)
    found = np.stack([latents[row, np.zeros(len(row), int)] for row in rows])  # (n, count, h, w, c)
    decoded = np.asarray(decode(found.reshape(-1, *made.shape[1:]))).reshape(len(images), -1, *images.shape[1:])
    beside = np.concatenate([images[:, None], decoded], axis=1)  # (n, 1 + count, height, width, 3)
    save_png(path, image_grid(beside.reshape(-1, *images.shape[1:]), columns=beside.shape[1]))


def nearest_rows(made, latents):
    """The rows of the nearest latents by Euclidean distance, int (n, `COUNT`), the nearest first."""
    made = made.reshape(len(made), -1)
    rows, distances = np.empty((len(made), 0), int), np.empty((len(made), 0))
    for start in range(0, len(latents), CHUNK):
        here = np.arange(start, min(start + CHUNK, len(latents)))
        values = np.asarray(latents[here, np.zeros(len(here), int)], "float32").reshape(len(here), -1)
        squares = np.square(values).sum(-1)[None] - 2.0 * made @ values.T  # without that of `made`, alike for all
        rows = np.concatenate([rows, np.broadcast_to(here, squares.shape)], axis=1)
        distances = np.concatenate([distances, squares], axis=1)
        best = np.argsort(distances, axis=1, kind="stable")[:, :COUNT]
        rows, distances = np.take_along_axis(rows, best, 1), np.take_along_axis(distances, best, 1)
    return rows
