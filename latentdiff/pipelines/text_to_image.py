"""From words to pictures."""

import numpy as np
from keras import ops

from latentdiff.diffusion import samplers
from latentdiff.models.compilation import compile_function
from latentdiff.pipelines import prompt_weights
from latentdiff.pipelines.pipeline import Pipeline
from latentdiff.settings.picture_settings import check_batch_size


class TextToImage(Pipeline):
    """Makes pictures from prompts with a trained `LatentDiffusion` model; its arguments are those of `Pipeline`."""

    def generate(
        self,
        prompts,
        negative_prompts=None,
        num_steps=None,
        guidance_scale=None,
        guidance_rescale=None,
        guidance_interval=None,
        seed=None,
        sampler=None,
        num_images=1,
        batch_size=16,
        callback=None,
        noise=None,
    ):
        """Pictures of what the prompts say.

        A picture is a function of its prompt and its settings alone: it is the same in any batch.

        Args:
            prompts: str, or list of str.
            negative_prompts: what to steer away from: str for all, list of one for each prompt, or None.
            num_steps: int >= 1, or one for each prompt. More steps are slower and more exact.
            guidance_scale: float >= 1, or one for each prompt. 1 follows the prompt loosely, larger values strictly.
            guidance_rescale: float in [0, 1], how far the contrast that guidance adds is taken back.
            guidance_interval: (low, high), the noise levels (noise rate / signal rate) between which guidance works;
                (0, inf) for all. Both are explained in `ClassifierFreeGuidance`.
            seed: int in [0, 2**31 - 1], or one for each prompt: the static that the pictures are made from. Prompts
                with the same seed share it. None takes a fresh one for each picture.
            sampler: name or `Sampler`.
            num_images: pictures a prompt; they take the seeds seed, seed + 1, ...
            batch_size: pictures made at a time.
            callback: optional function (step, num_steps, decode), called after each step of a batch; `decode()` gives
                the pictures at this point, uint8. Makes the loop slower.
            noise: the static itself, float of `latent_shape`, or one for each prompt: for instance one
                between two seeds, by `noise.interpolate`. The seed then is that of the noise which some samplers add;
                with the others all `num_images` of a prompt are equal.

        Returns:
            uint8 array (number of pictures, height, width, 3), the pictures of a prompt side by side; for one str and
            one picture (height, width, 3).

        Raises:
            ValueError: no prompts, lists of other lengths than the prompts, or settings out of range.
        """
        single = isinstance(prompts, str) and num_images == 1
        settings = self.settings(prompts, negative_prompts, num_steps, guidance_scale, seed, num_images, noise=noise)
        pictures = self._pictures(settings, guidance_rescale, guidance_interval, sampler, batch_size, callback)
        return pictures[0] if single else pictures

    def invert(self, images, prompts, num_steps=None, sampler="ddim", num_iterations=5, batch_size=16):
        """The noise that pictures are made of: `generate` gives them back, as well as the autoencoder can.

        Args:
            images: uint8 [0, 255] or float [-1, 1] array (height, width, 3) of the pipeline's `image_size`, or one for
                each prompt.
            prompts: str, or list of str: what the pictures show.
            num_steps: int >= 1, or one for each prompt; the more, the more exact.
            sampler: name or `Sampler`, one that can be inverted: "ddim" or "euler".
            num_iterations: see `DDIM.invert`.
            batch_size: pictures inverted at a time.

        Returns:
            float32 array (number of prompts, *latent_shape), for one str `latent_shape`: `noise` of `generate` with the
            same prompts, steps and sampler, and a guidance scale of 1. With other prompts it gives other pictures of
            the same layout.

        Raises:
            ValueError: images of another size or range, settings out of range, a sampler that can't be inverted.
        """
        settings = self.settings(prompts, num_steps=num_steps, guidance_scale=1.0, seed=0, images=images)
        check_batch_size(batch_size)
        invert = self._inversion(samplers.get(sampler), num_iterations)
        noises = []
        for start in range(0, len(settings["seeds"]), batch_size):
            batch = {name: values[start : start + batch_size] for name, values in settings.items()}
            features = prompt_weights.encode(batch["prompts"], self.model.text_encoder, self._encode_text)
            latents = self._encode_images(batch["images"])
            noises.append(ops.convert_to_numpy(invert(latents, batch["num_steps"].astype("int32"), *features)))
        noises = np.concatenate(noises)
        return noises[0] if isinstance(prompts, str) else noises

    def _inversion(self, sampler, num_iterations):
        """A compiled function from latents and their conditioning to noise, kept for the next call."""
        if not isinstance(sampler, samplers.DDIM) or sampler.eta:
            raise ValueError(
                f"`sampler` must be one without memory and fresh noise: ddim or euler. Received: {sampler}"
            )
        key = (sampler, num_iterations)

        def invert(latents, num_steps, conditioning, shares):
            denoiser = self.denoiser(conditioning, shares=shares)
            return sampler.invert(denoiser, self.model.noise_schedule, latents, num_steps, num_iterations)

        if key not in self._loops:
            self._loops[key] = compile_function(invert, self.model)
        return self._loops[key]

    def export(self, folder, **options):
        """Writes a SavedModel for TF Serving into BASE/VERSION, see `export.saved_model.export_saved_model`."""
        self.check_no_guide()
        from latentdiff.export.saved_model.saved_model import export_saved_model

        return export_saved_model(self, folder, **options)

    def export_litert(self, folder, **options):
        """Writes LiteRT files for the edge into a folder, see `export.litert.export_litert`."""
        self.check_no_guide()
        from latentdiff.export.litert.litert import export_litert

        return export_litert(self, folder, **options)
