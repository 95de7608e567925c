import numpy as np


def psnr(images_a, images_b):
    """Peak signal-to-noise ratio of each pair of images.

    Args:
        images_a, images_b: arrays of one shape (n, height, width, channels), both uint8 [0, 255] or both
            float [-1, 1].

    Returns:
        float64 array (n,), in decibels; infinite for equal images.

    Raises:
        ValueError: the arrays differ in shape or kind.
    """
    images_a, images_b = np.asarray(images_a), np.asarray(images_b)
    kinds = {images.dtype.kind if images.dtype.kind == "f" else images.dtype.name for images in (images_a, images_b)}
    if images_a.shape != images_b.shape or kinds not in ({"f"}, {"uint8"}):
        raise ValueError(
            "`images_a` and `images_b` must have one shape and be both uint8 or both float. Received: "
            f"{images_a.dtype} {images_a.shape} and {images_b.dtype} {images_b.shape}"
        )
    peak = 255.0 if kinds == {"uint8"} else 2.0
    difference = images_a.astype("float64") - images_b.astype("float64")
    error = np.mean(difference**2, axis=tuple(range(1, difference.ndim)))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(peak**2 / error)
