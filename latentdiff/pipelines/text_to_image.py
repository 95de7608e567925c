"""From words to images."""

import numpy as np
from keras import ops

from latentdiff.diffusion import samplers
from latentdiff.models.compilation import compile_function
from latentdiff.pipelines import prompt_weights
from latentdiff.pipelines.arrays import each_image
from latentdiff.pipelines.pipeline import Pipeline
from latentdiff.settings.request import Request, check_count


class TextToImage(Pipeline):
    """Makes images from prompts with a trained `LatentDiffusion` model; its arguments are those of `Pipeline`."""

    def invert(self, images, prompts, num_steps=None, sampler="ddim", num_iterations=5, batch_size=16):
        """The noise that images are made of: `generate` gives them back, as well as the autoencoder can.

        Args:
            images: uint8 [0, 255] or float [-1, 1] array (height, width, 3) of the pipeline's `image_size`, or one for
                each prompt.
            prompts: str, or list of str: what the images show.
            num_steps: int >= 1, or one for each prompt; the more, the more exact.
            sampler: name or `Sampler`, one that can be inverted: "ddim" or "euler".
            num_iterations: see `DDIM.invert`.
            batch_size: images inverted at a time.

        Returns:
            float32 array (number of prompts, *latent_shape), for one str `latent_shape`: `noise` of `generate` with the
            same prompts, steps and sampler, and a guidance scale of 1. With other prompts it gives other images of
            the same layout.

        Raises:
            ValueError: images of another size or range, settings out of range, a sampler that can't be inverted.
        """
        request = self.resolve(Request.build(prompts, num_steps=num_steps, guidance_scale=1.0, seed=0))
        images = each_image(images, len(request), self.image_size)
        invert = self._inversion(samplers.get(sampler), num_iterations)
        noises = []
        for start in range(0, len(request), check_count("batch_size", batch_size)):
            batch = request.rows(start, start + batch_size)
            features = prompt_weights.encode(batch.parsed["prompts"], self.model.text_encoder, self._encode_text)
            latents = self._encode_images(images[start : start + batch_size])
            noises.append(ops.convert_to_numpy(invert(latents, np.array(batch["num_steps"], "int32"), *features)))
        noises = np.concatenate(noises)
        return noises[0] if isinstance(prompts, str) else noises

    def _inversion(self, sampler, num_iterations):
        """A compiled function from latents and their conditioning to noise, kept for the next call."""
        if not isinstance(sampler, samplers.DDIM) or sampler.eta:
            raise ValueError(
                f"`sampler` must be one without memory and fresh noise: ddim or euler. Received: {sampler}"
            )
        key = ("inversion", sampler, num_iterations)

        def invert(latents, num_steps, conditioning, shares):
            denoiser = self.denoiser(conditioning, shares=shares)
            return sampler.invert(denoiser, self.model.noise_schedule, latents, num_steps, num_iterations)

        if key not in self._loops:
            self._loops[key] = compile_function(invert, self.model)
        return self._loops[key]

    def export(self, folder, **options):
        """Writes a SavedModel for TF Serving into BASE/VERSION, see `export.saved_model.export_saved_model`.

        The adapters that are loaded are merged into its weights.
        """
        self.check_no_guide()
        from latentdiff.export.saved_model.saved_model import export_saved_model

        with self.model.lora.merged():
            return export_saved_model(self, folder, **options)

    def export_litert(self, folder, **options):
        """Writes LiteRT files for the edge into a folder, see `export.litert.export_litert`; adapters are merged."""
        self.check_no_guide()
        self._check_no_words()
        from latentdiff.export.litert.litert import export_litert

        with self.model.lora.merged():
            return export_litert(self, folder, **options)

    def export_diffusers(self, folder, **options):
        """Writes a folder that diffusers opens, see `convert.save_diffusers.save_diffusers`."""
        self.check_no_guide()
        self._check_no_words()
        from latentdiff.convert.save_diffusers import save_diffusers

        with self.model.lora.merged():
            save_diffusers(self.model, self.defaults, folder, **options)

    def _check_no_words(self):
        """Raises ValueError for a model with new words, which have no place in the tokenizers of these formats."""
        if words := list(self.model.text_encoder.words):
            raise ValueError(
                "`text_encoder.words` must be empty for this format: write them by `save_textual_inversion`, and take "
                f"them away by `text_encoder.words.clear()`. Received: {words}"
            )
