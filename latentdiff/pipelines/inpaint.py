"""Painting a part of a picture anew."""

import numpy as np
from keras import ops

from latentdiff.models.pixels import to_uint8
from latentdiff.pipelines.pipeline import Pipeline
from latentdiff.settings.picture_settings import parts


class Inpaint(Pipeline):
    """Paints the masked part of pictures by what prompts say; its arguments are those of `Pipeline`.

    The model needs no training for it: it is told the right answer wherever the picture is known, see `KnownRegion`.
    """

    def generate(
        self,
        inputs,
        num_steps=None,
        strength=1.0,
        guidance_scale=None,
        seed=None,
        num_images=1,
        keep_pixels=False,
        **options,
    ):
        """Pictures that differ from given ones in the masked part only.

        Args:
            inputs: dict of
                images: uint8 [0, 255] or float [-1, 1] array (height, width, 3) of the pipeline's `image_size`, or one
                    for each prompt, (number of prompts, height, width, 3).
                masks: bool array (height, width), or one for each prompt: True where to paint. The grid of the latents
                    is coarser than that of the pixels; latents that a mask touches are painted.
                prompts: str, or list of str: what the whole picture should show.
                negative_prompts: optional, str or list of str.
            num_steps, strength, guidance_scale, seed, num_images, options: as in `ImageToImage.generate`. `strength`
                says how much of what is under the mask is forgotten.
            keep_pixels: put the pixels of the given pictures back wherever the mask is False. Without it they are what
                the autoencoder makes of them, and there is no seam.

        Returns:
            uint8 array (number of pictures, height, width, 3); for one str and one picture (height, width, 3).

        Raises:
            ValueError: missing or unknown keys, images or masks of another size or range, settings out of range.
        """
        needed, optional = ("images", "masks", "prompts"), ("negative_prompts",)
        images, masks, prompts, negative_prompts = parts(inputs, needed, optional)
        arrays = {"images": images, "masks": masks}
        settings = self.settings(
            prompts, negative_prompts, num_steps, guidance_scale, seed, num_images, strength, **arrays
        )
        pictures = self._pictures(settings, **options)
        if keep_pixels:
            images = settings["images"]
            given = images if images.dtype == np.uint8 else ops.convert_to_numpy(to_uint8(images))
            pictures = np.where(settings["masks"][..., None], pictures, given)
        return pictures[0] if isinstance(prompts, str) and num_images == 1 else pictures
