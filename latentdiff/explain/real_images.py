"""Real images with captions, to explain with."""

import dataclasses

import numpy as np

from latentdiff.data.captioned_images import load_images


@dataclasses.dataclass(frozen=True)
class RealImages:
    """Captioned images, and what is known of each.

    Attributes:
        images: uint8 array (n, height, width, 3).
        captions: n strings.
        labels: n strings, what each shows: the column `label` where there is one, else the caption.
        training: bool array (n,), whether a model is known to have been trained on it: all of a split named "train".
    """

    images: np.ndarray
    captions: list[str]
    labels: list[str]
    training: np.ndarray

    @property
    def kind(self):
        """What the images of `held_out` may be called: without a split the model may have seen them."""
        return "held-out" if 0 < self.training.sum() < len(self.training) else "real"

    def held_out(self, count, seed=0):
        """Rows of `count` images that no training saw (of all, where there are none such), in random order."""
        rows = np.flatnonzero(~self.training)
        rows = rows if len(rows) else np.arange(len(self.captions))
        return np.random.default_rng(seed).permutation(rows)[:count]


def load_real_images(sources, image_size, skip_corrupt=False):
    """Reads captioned images of one or several sources.

    Args:
        sources: list of what `load_images` takes.
        image_size: (height, width).
        skip_corrupt: whether to leave out images that can't be decoded.

    Raises:
        ValueError: those of `load_images`.
    """
    parts = [load_images(source, image_size, skip_corrupt=skip_corrupt) for source in sources]
    captions = [caption for part in parts for caption in part.captions]
    records = [record for part in parts for record in part.records]
    labels = [_label(record) or caption for record, caption in zip(records, captions, strict=True)]
    training = np.array([record.get("split") == "train" for record in records])
    return RealImages(np.concatenate([part.images for part in parts]), captions, labels, training)


def _label(record):
    label = record.get("label")
    return label.strip() if isinstance(label, str) else None
