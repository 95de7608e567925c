"""Aspect-ratio buckets: images of different proportions at sizes of about equal area, and batches of one size each.

Reference: Podell et al., SDXL, 2023, arXiv:2307.01952, section 2.3.
"""

import math

import numpy as np

from latentdiff.data.batches import EpochDataset
from latentdiff.data.captioned_images import CaptionedImages, check_memory, decode_rows, open_rows
from latentdiff.data.images import both_sides, crop, read_image


def bucket_sizes(image_size, step, max_ratio=2.0):
    """The sizes of buckets, with the area of `image_size` but for rounding to `step`.

    No two have an equal height or an equal width.

    Args:
        image_size: int, or (height, width), in pixels; its area counts.
        step: int, sides are multiples of it.
        max_ratio: float >= 1, the longer side over the shorter is about this at most.

    Returns:
        list of (height, width), from wide to tall.

    Raises:
        ValueError: a step that is above the side of a square of this area.
    """
    area = math.prod(both_sides(image_size))
    most = math.isqrt(area) // step
    if step < 1 or most < 1:
        raise ValueError(f"`step` must be from 1 to {math.isqrt(area)}. Received: {step=}")
    wide = [(side * step, round(area / side / step**2) * step) for side in range(1, most + 1)]
    wide = [(height, width) for height, width in wide if width <= max_ratio * height or height == most * step]
    return sorted({*wide, *((width, height) for height, width in wide)})


def nearest_size(height, width, sizes):
    """The size whose proportions are nearest to those of an image."""
    return min(sizes, key=lambda size: abs(math.log(size[0] * width / (size[1] * height))))


def load_buckets(source, image_size, step, split=None, skip_corrupt=False, limit=None, background="white"):
    """Reads captioned images, each cropped and resized to the bucket with the nearest proportions.

    Args:
        image_size, step: see `bucket_sizes`.
        source, split, skip_corrupt, limit, background: see `load_images`.

    Returns:
        dict of (height, width) -> `CaptionedImages`, of the buckets that have images, from wide to tall.

    Raises:
        ValueError: those of `load_images` and of `bucket_sizes`.
    """
    sizes = bucket_sizes(image_size, step)

    def decode(row):
        image = read_image(row.image, row.name, background)
        return crop(image, nearest_size(image.height, image.width, sizes))

    buckets = {}
    rows = open_rows(source, split, limit)
    check_memory(source, rows, both_sides(image_size))
    for _, row, image in decode_rows(rows, decode, skip_corrupt):
        buckets.setdefault(image.shape[:2], []).append((row, image))
    return {
        size: CaptionedImages(
            np.stack([image for _, image in pairs]),
            [row.caption for row, _ in pairs],
            [row.record for row, _ in pairs],
        )
        for size, pairs in sorted(buckets.items())
    }


class BucketBatches(EpochDataset):
    """The batches of several `Batches` in one random order, which depends on (seed, epoch) alone.

    The functions that `fit` compiles are compiled once for each shape.

    Args:
        parts: list of `Batches`, each of one shape.
        seed: int, not negative.
        **kwargs: those of `keras.utils.PyDataset`.

    Returns:
        Item `index`: a batch of one of the parts.
    """

    def __init__(self, parts, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.parts = list(parts)
        self.seed = seed
        self.set_epoch(0)

    @property
    def num_steps(self):
        return sum(map(len, self.parts))

    @property
    def num_images(self):
        return sum(part.num_images for part in self.parts)

    def make(self, index):
        part, place = self._order[index]
        return self.parts[part][place]

    def names(self, index):
        part, place = self._order[index]
        return self.parts[part].names(place)

    def set_epoch(self, epoch, start=0):
        super().set_epoch(epoch, start)
        for part in self.parts:
            part.set_epoch(epoch)
        order = [(index, place) for index, part in enumerate(self.parts) for place in range(len(part))]
        order = [order[place] for place in np.random.default_rng((self.seed, 2, epoch)).permutation(len(order))]
        # From the first two batches Keras tells TensorFlow which sides may vary.
        other = next((place for place, (part, _) in enumerate(order) if part != order[0][0]), 0)
        if other:
            order[1], order[other] = order[other], order[1]
        self._order = order
