"""Painting a part of an image anew."""

from latentdiff.pipelines.pipeline import Pipeline


class Inpaint(Pipeline):
    """Paints the masked part of images by what prompts say; its arguments are those of `Pipeline`.

    `generate` needs `images` and `masks`; prompts say what the whole image should show. A network that was trained to
    see masks (`UNet(sees_mask=True)`) is told what is known; every other one is told the right answer wherever the
    image is known, see `KnownRegion`. `strength` (default 1) says how much of what is under the mask is forgotten.
    """

    needs = ("images", "masks")
    strength = 1.0
