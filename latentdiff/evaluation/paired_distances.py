import numpy as np
from keras import ops

from latentdiff.models.pixels import to_float


def paired_distances(distance, images_a, images_b, batch_size=32):
    """Distances between image i of one set and image i of the other, in batches.

    Args:
        distance: callable from two batches of images, float [-1, 1], to (batch,), such as `models.losses.LPIPS`.
        images_a, images_b: uint8 [0, 255] arrays (n, height, width, 3).
        batch_size: pairs per call.

    Returns:
        float32 array (n,).

    Raises:
        ValueError: the arrays differ in shape, are not uint8 or are empty.
    """
    if images_a.shape != images_b.shape or images_a.dtype != np.uint8 or images_b.dtype != np.uint8:
        raise ValueError(
            "`images_a` and `images_b` must be uint8 of one shape (n, height, width, 3). Received: "
            f"{images_a.dtype} {images_a.shape} and {images_b.dtype} {images_b.shape}"
        )
    if len(images_a) == 0:
        raise ValueError("`images_a` must hold at least one image. Received: none")
    distances = []
    for start in range(0, len(images_a), batch_size):
        rows = slice(start, start + batch_size)
        distances.append(ops.convert_to_numpy(distance(to_float(images_a[rows]), to_float(images_b[rows]))))
    return np.concatenate(distances).astype("float32")
