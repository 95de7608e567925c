"""From pictures and words to other pictures."""

from latentdiff.pipelines.pipeline import Pipeline
from latentdiff.settings.picture_settings import parts


class ImageToImage(Pipeline):
    """Makes pictures anew by what prompts say; its arguments are those of `Pipeline`.

    The picture is covered with some of the noise, and sampled from there on (Meng et al., SDEdit, 2021,
    arXiv:2108.01073).
    """

    def generate(self, inputs, num_steps=None, strength=0.8, guidance_scale=None, seed=None, num_images=1, **options):
        """Pictures that keep something of given ones.

        Args:
            inputs: dict of
                images: uint8 [0, 255] or float [-1, 1] array (height, width, 3) of the pipeline's `image_size`
                    (`images.load_picture` reads and resizes a file), or one for each prompt, (number of prompts,
                    height, width, 3).
                prompts: str, or list of str.
                negative_prompts: optional, str or list of str.
            num_steps: int >= 1, or one for each prompt: the steps that a whole way from noise would have. A share of
                `strength` of them is taken.
            strength: float in [0, 1], or one for each prompt: how far on the way back to noise to begin. 0 gives what
                the autoencoder makes of the picture, 1 takes no notice of it and is `TextToImage.generate` of the same
                seed.
            guidance_scale, seed: as in `TextToImage.generate`.
            num_images: pictures a prompt, from the seeds seed, seed + 1, ...: variations of the picture.
            options: `guidance_rescale`, `guidance_interval`, `sampler`, `batch_size` and `callback` of
                `TextToImage.generate`.

        Returns:
            uint8 array (number of pictures, height, width, 3), the pictures of a prompt side by side; for one str and
            one picture (height, width, 3).

        Raises:
            ValueError: missing or unknown keys, images of another size or range, settings out of range.
        """
        images, prompts, negative_prompts = parts(inputs, ("images", "prompts"), ("negative_prompts",))
        settings = self.settings(
            prompts, negative_prompts, num_steps, guidance_scale, seed, num_images, strength, images=images
        )
        pictures = self._pictures(settings, **options)
        return pictures[0] if isinstance(prompts, str) and num_images == 1 else pictures
