"""Images that are no generated ones, to read scores by: real ones made worse, and a pure memoriser's answers."""

import numpy as np
from PIL import Image, ImageFilter

BLUR_RADIUS = 2.0


def blurred(images, radius=BLUR_RADIUS):
    """uint8 images (n, height, width, 3) under a Gaussian blur with a deviation of `radius` pixels."""
    return np.stack([np.asarray(Image.fromarray(x).filter(ImageFilter.GaussianBlur(radius))) for x in images])


def half_resolution(images):
    """uint8 images (n, height, width, 3), averaged over blocks of 2 x 2 pixels and enlarged again, bilinearly."""
    n, height, width, _ = images.shape
    if height % 2 or width % 2:
        raise ValueError(f"`images` must have an even height and width. Received: images.shape={images.shape}")
    small = images.reshape(n, height // 2, 2, width // 2, 2, 3).mean((2, 4))
    small = np.round(small).astype("uint8")
    return np.stack([np.asarray(Image.fromarray(x).resize((width, height), Image.Resampling.BILINEAR)) for x in small])


def memoriser_answers(asked, gallery, seed=0):
    """What a model that only repeats training images would answer: the emoji in a random other style.

    Args:
        asked: `benchmarks.asked.Asked`.
        gallery: `benchmarks.scoring.Gallery`.
        seed: int.

    Returns:
        int array (n,) into the gallery.
    """
    rng = np.random.default_rng(seed)
    answers = []
    for ids, style in zip(asked.ids, asked.styles, strict=True):
        candidates = np.flatnonzero(gallery.training & np.isin(gallery.ids, list(ids)) & (gallery.styles != style))
        if not len(candidates):
            raise ValueError(
                f"`gallery` must hold one of {sorted(ids)} in a style other than {style!r}. Received: none"
            )
        answers.append(rng.choice(candidates))
    return np.array(answers)
