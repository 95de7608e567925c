"""Images as `fit` takes them, in batches."""

import warnings

import keras
import numpy as np

CHECKED = 64  # images of an array whose range is looked at


def check_pixels(images):
    """A list of images as one array. Float images must be in [-1, 1].

    Raises:
        ValueError: floats outside [-1, 1], for instance in [0, 255]. In [0, 1] they are only suspicious: a warning.
    """
    if isinstance(images, list) and images and all(np.ndim(image) == 3 for image in images):
        images = np.stack([np.asarray(image) for image in images])
    if isinstance(images, np.ndarray) and images.dtype.kind == "f" and images.size:
        some = images[:CHECKED]
        low, high = float(some.min()), float(some.max())
        if not (low >= -1.001 and high <= 1.001):
            raise ValueError(
                f"`images` must be uint8 in [0, 255] or float in [-1, 1]. Received: {images.dtype} in [{low}, {high}]"
            )
        if low >= 0.0 and high > 0.5 and len(some) > 1:
            warnings.warn(
                f"float images must be in [-1, 1]; these are in [{low:.3g}, {high:.3g}]: if 0 is black, pass "
                "2 * images - 1, or uint8 images",
                stacklevel=4,
            )
    return images


def image_batches(images, batch_size):
    """Yields numpy batches of images.

    Args:
        images: array, list of images, dict with them under "images", or a dataset of batches of arrays or dicts.
        batch_size: of what comes in no batches.
    """
    images = images["images"] if isinstance(images, dict) else images
    images = check_pixels(images)
    if hasattr(images, "shape") or isinstance(images, list):
        for start in range(0, len(images), batch_size):
            yield np.asarray(images[start : start + batch_size])
        return
    batches = images
    if isinstance(images, keras.utils.PyDataset):
        batches = (images[index] for index in range(len(images)))  # it has no end of its own
    for batch in batches:
        batch = batch[0] if isinstance(batch, tuple) else batch
        yield np.asarray(check_pixels(batch["images"] if isinstance(batch, dict) else batch))
