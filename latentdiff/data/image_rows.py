"""Captioned images as an array that is read when it is indexed, or held in memory where they fit."""

import functools

import numpy as np

from latentdiff.data.captioned_images import corrupt_hint, decode_rows, open_rows
from latentdiff.data.images import both_sides, crop, read_image
from latentdiff.data.memory import total_memory
from latentdiff.data.rows import Subset, shuffled

MEMORY_SHARE = 0.25  # of the memory that decoded images may take


def open_images(source, image_size, split=None, skip_corrupt=False, limit=None):
    """The images of a source as `ImageRows`, in memory if they take no more than a quarter of it.

    Args, errors: see `load_images`. What is not in memory is decoded when it is indexed, and raises its errors then;
    with `skip_corrupt` all images are decoded once before, to know which to leave out.
    """
    images = ImageRows(open_rows(source, split, limit), both_sides(image_size))
    if images.nbytes <= MEMORY_SHARE * total_memory():
        return images.loaded(skip_corrupt)
    return images.readable() if skip_corrupt else images


class ImageRows:
    """The decoded images of a source, as an array: what `Batches` and `measure_latents` take for images.

    Args:
        source: `Source`.
        size: (height, width) of the images in pixels.
        pixels: optional uint8 array (n, height, width, 3), the images, if they are in memory.

    Returns:
        Item of row numbers, or of a slice: uint8 (n, height, width, 3).

    Raises:
        ValueError: an image that is indexed can't be decoded; names it.
    """

    dtype = np.dtype("uint8")

    def __init__(self, source, size, pixels=None):
        self.source, self.size, self.pixels = source, size, pixels

    def __len__(self):
        return len(self.source)

    @property
    def shape(self):
        return (len(self), *self.size, 3)

    @property
    def nbytes(self):
        return len(self) * self.size[0] * self.size[1] * 3

    @property
    def in_memory(self):
        return self.pixels is not None

    def __getitem__(self, rows):
        if self.in_memory:
            return self.pixels[rows]
        rows = range(*rows.indices(len(self))) if isinstance(rows, slice) else rows
        images = np.empty((len(rows), *self.size, 3), "uint8")
        for place, index in enumerate(rows):
            images[place] = self._read(int(index))
        return images

    def _read(self, index):
        row = self.source[index]
        try:
            return crop(read_image(row.image, row.name), self.size)
        except ValueError as error:
            raise ValueError(f"`source` must hold readable images.{corrupt_hint()} Received: {error}") from error

    @property
    def permutation(self):
        """Function from a `numpy.random.Generator` to the row numbers in an order that is quick to read."""
        return functools.partial(shuffled, source=self.source)

    def loaded(self, skip_corrupt=False):
        """The same images in memory; see `load_images`."""
        pixels, numbers = np.empty(self.shape, "uint8"), []
        for number, _, image in decode_rows(self.source, lambda image: crop(image, self.size), skip_corrupt):
            pixels[len(numbers)] = image
            numbers.append(number)
        return ImageRows(self._source_of(numbers), self.size, pixels[: len(numbers)])

    def readable(self):
        """Those of the images that can be decoded; a warning names the others. Decodes all of them."""
        numbers = [number for number, *_ in decode_rows(self.source, lambda image: image.size, skip_corrupt=True)]
        return ImageRows(self._source_of(numbers), self.size)

    def _source_of(self, numbers):
        return self.source if len(numbers) == len(self) else Subset(self.source, numbers)
