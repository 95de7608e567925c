"""Captioned images as an array that is read when it is indexed, or held in memory where they fit."""

import functools
import math

import numpy as np

from latentdiff.data.captioned_images import corrupt_hint, decode_rows, open_rows
from latentdiff.data.memory import total_memory
from latentdiff.data.rows import Subset, shuffled

MEMORY_SHARE = 0.25  # of the memory that decoded images may take


def open_images(source, form, split=None, skip_corrupt=False, limit=None):
    """The images of a source as `ImageRows`, in memory if they take no more than a quarter of it.

    Images that are cropped at random stay on the disk. What is not in memory is decoded when it is indexed, and raises
    its errors then; with `skip_corrupt` all images are decoded once before, to know which to leave out.

    Args:
        source, split, skip_corrupt, limit: see `load_images`.
        form: `ImageForm`.

    Raises:
        ValueError: see `load_images`.
    """
    images = ImageRows(open_rows(source, split, limit), form)
    if form.crop != "random" and images.nbytes <= MEMORY_SHARE * total_memory():
        return images.loaded(skip_corrupt)
    return images.readable() if skip_corrupt else images


class ImageRows:
    """The decoded images of a source, as an array: what `Batches` and `measure_latents` take for images.

    Args:
        source: `Source`.
        form: `ImageForm`.
        pixels: optional uint8 array (n, height, width, 3), the images, if they are in memory.

    Returns:
        Item of row numbers, or of a slice: uint8 (n, height, width, 3).

    Raises:
        ValueError: an image that is indexed can't be decoded; names it.
    """

    dtype = np.dtype("uint8")

    def __init__(self, source, form, pixels=None):
        self.source, self.form, self.pixels = source, form, pixels

    def __len__(self):
        return len(self.source)

    @property
    def shape(self):
        return (len(self), *self.form.image_size, 3)

    @property
    def nbytes(self):
        return math.prod(self.shape)

    @property
    def in_memory(self):
        return self.pixels is not None

    def __getitem__(self, rows):
        return self.read(rows)

    def read(self, rows, rng=None):
        """The images of rows, where a generator draws what is random in their form."""
        if self.in_memory:
            return self.pixels[rows]
        rows = range(*rows.indices(len(self))) if isinstance(rows, slice) else rows
        images = np.empty((len(rows), *self.shape[1:]), "uint8")
        for place, row in enumerate(self.source.read(rows)):
            images[place] = self._decode(row, rng)
        return images

    def _decode(self, row, rng):
        try:
            return self.form(row, rng)
        except ValueError as error:
            raise ValueError(f"`source` must hold readable images.{corrupt_hint()} Received: {error}") from error

    def name(self, row):
        """What messages call the image of a row."""
        return self.source[row].name

    @property
    def permutation(self):
        """Function from a `numpy.random.Generator` to the row numbers in an order that is quick to read."""
        return functools.partial(shuffled, source=self.source)

    def loaded(self, skip_corrupt=False):
        """The same images in memory; see `load_images`."""
        pixels, numbers = np.empty(self.shape, "uint8"), []
        for number, _, image in decode_rows(self.source, self.form, skip_corrupt):
            pixels[len(numbers)] = image
            numbers.append(number)
        return ImageRows(self._source_of(numbers), self.form, pixels[: len(numbers)])

    def readable(self):
        """Those of the images that can be decoded; a warning names the others. Decodes all of them."""
        numbers = [number for number, *_ in decode_rows(self.source, self.form, skip_corrupt=True)]
        return ImageRows(self._source_of(numbers), self.form)

    def _source_of(self, numbers):
        return self.source if len(numbers) == len(self) else Subset(self.source, numbers)
