"""From images and words to other images."""

from latentdiff.pipelines.pipeline import Pipeline


class ImageToImage(Pipeline):
    """Makes images anew by what prompts say; its arguments are those of `Pipeline`, and `generate` needs `images`.

    The image is covered with some of the noise, and sampled from there on. `strength` (default 0.8) says how far on
    the way back to noise to begin; with 1 the result is that of `TextToImage` for the same seed. `num_images` makes
    variations.

    Reference: Meng et al., SDEdit, 2021, arXiv:2108.01073.
    """

    needs = ("images",)
    strength = 0.8
