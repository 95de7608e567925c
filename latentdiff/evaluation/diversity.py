import itertools

import numpy as np

from latentdiff.evaluation.paired_distances import paired_distances


def diversity(distance, images, batch_size=32):
    """Mean distance of all pairs of images of one prompt with different seeds.

    Args:
        distance: callable from two batches of images, float [-1, 1], to (batch,), such as `models.losses.LPIPS`.
        images: uint8 [0, 255] array (num_seeds, height, width, 3), at least two.
        batch_size: pairs per call.

    Returns:
        float: 0 when all seeds give the same image.

    Raises:
        ValueError: fewer than two images, or images of another kind.
    """
    if len(images) < 2:
        raise ValueError(f"`images` must hold two images or more. Received: {len(images)}")
    first, second = np.array(list(itertools.combinations(range(len(images)), 2))).T
    return float(np.mean(paired_distances(distance, images[first], images[second], batch_size)))
