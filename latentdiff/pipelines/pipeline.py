"""What all ways to an image share: the model, its defaults, and the compiled functions from a request to images."""

import numpy as np
from keras import ops

from latentdiff.convert import lora_files, textual_inversion
from latentdiff.convert.diffusers import load_diffusers
from latentdiff.diffusion import conditioning as trees
from latentdiff.diffusion import noise as seeded
from latentdiff.diffusion import samplers
from latentdiff.models import image_members
from latentdiff.models.coding import check_tile_size, compiled_coders
from latentdiff.models.compilation import compile_function
from latentdiff.pipelines import prompt_weights
from latentdiff.pipelines.arrays import check_image_size, checked_arrays, first_steps, rows_of, with_kept_pixels
from latentdiff.pipelines.loop import Loop, known_inputs, make_denoiser
from latentdiff.presets.preset import load_preset, save_preset
from latentdiff.settings.request import Request, check_count
from latentdiff.settings.table import EVERYWHERE, GUIDANCE, NUM_STEPS, SEED, SETTINGS

# Arguments of `Pipeline` beside the model; presets keep them.
DEFAULTS = ("image_size", "sampler", "num_steps", "guidance_scale", "guidance_rescale", "guidance_interval")
# What is compiled depends on the model and the tiles, so that pipelines can share it, or on the image size, too.
COMPILED, COMPILED_FOR_SIZE = ("_encode_images", "_decode"), ("_encode_text", "_loops")


class Pipeline:
    """Base of `TextToImage` and its relatives, which differ in what they need beside prompts.

    Args:
        model: the `LatentDiffusion` model; several pipelines may share one.
        image_size: (height, width) of the images, or one int for both; default: what the network was built for.
        sampler: name or `Sampler`, the default of `generate`.
        num_steps, guidance_scale, guidance_rescale, guidance_interval: defaults of `generate`.
        guide: optional, a worse network for the same latents and conditioning: guidance is then `Autoguidance` by it,
            in place of `ClassifierFreeGuidance`, and there are no negative prompts.
        tile_size: optional, side in pixels of the tiles in which images are encoded and decoded, see `tiles.in_tiles`:
            less memory for large images, and nearly the same pixels. Presets do not keep it.

    Raises:
        ValueError: no `image_size` while the network takes any, or one that the autoencoder can't make, nor tiles of
            `tile_size`; a default out of bounds.
    """

    needs = ()  # what `generate` must be given: "images", "masks"
    strength = 1.0  # default of `generate`

    def __init__(
        self,
        model,
        image_size=None,
        sampler="ddim",
        num_steps=50,
        guidance_scale=4.0,
        guidance_rescale=0.0,
        guidance_interval=None,
        guide=None,
        tile_size=None,
    ):
        check_tile_size(tile_size, model.autoencoder.downsampling)
        self.model = model
        self.guide = guide
        self.tile_size = tile_size
        self.image_size = check_image_size(model, image_size)
        self.sampler = sampler
        self.num_steps = num_steps
        self.guidance_scale = guidance_scale
        self.guidance_rescale = guidance_rescale
        self.guidance_interval = guidance_interval
        Request.build("", **{name: value for name, value in self.defaults.items() if name in SETTINGS})
        self._encode_text = compile_function(self.encode_text, model)
        self._encode_images, self._decode = compiled_coders(model, tile_size)
        self._loops = {}

    @classmethod
    def from_preset(cls, preset, **kwargs):
        """Opens a preset, see `presets.folder.preset_folder`. Keyword arguments replace its settings."""
        model, settings = load_preset(preset)
        return cls(model, **{**settings, **kwargs})

    @classmethod
    def from_diffusers(cls, source, variant=None, clip_skip=0, weights_file=None, max_chunks=1, **kwargs):
        """Opens Stable Diffusion, see `convert.diffusers.load_diffusers`. Keyword arguments replace its settings."""
        model, settings = load_diffusers(source, variant, clip_skip, weights_file, max_chunks)
        return cls(model, **{**settings, **kwargs})

    @classmethod
    def from_pipeline(cls, pipeline, **kwargs):
        """A pipeline of this kind around the model of another, with its settings; keyword arguments replace them."""
        others = {"guide": pipeline.guide, "tile_size": pipeline.tile_size}
        made = cls(pipeline.model, **{**pipeline.defaults, **others, **kwargs})
        alike = made.image_size == pipeline.image_size and made.guide is pipeline.guide
        for name in COMPILED * (made.tile_size == pipeline.tile_size) + COMPILED_FOR_SIZE * alike:
            setattr(made, name, getattr(pipeline, name))
        return made

    def save_to_preset(self, folder, float16=False, max_shard_bytes=None):
        """Writes model, tokenizer and settings into a folder, see `presets.preset.save_preset`."""
        self.check_no_guide()
        save_preset(folder, self.model, self.defaults, float16=float16, max_shard_bytes=max_shard_bytes)

    def load_lora(self, path, scale=1.0, name=None):
        """Adds the adapter in a LoRA file to the model and returns its name, see `convert.lora_files.load_lora`."""
        return lora_files.load_lora(path, self.model, scale, name)

    def unload_lora(self, name=None):
        """Takes an adapter off the model; without a name all of them."""
        self.model.lora.clear() if name is None else self.model.lora.remove(name)

    def load_textual_inversion(self, path, word=None):
        """Adds the word in a file and returns it, see `convert.textual_inversion.load_textual_inversion`."""
        return textual_inversion.load_textual_inversion(path, self.model, word)

    def check_no_guide(self):
        """Raises ValueError for a pipeline with a `guide`, which neither presets nor exports hold."""
        if self.guide is not None:
            raise ValueError("`guide` is in no preset and no export. Received: a pipeline with a guide")

    @property
    def defaults(self):
        """The arguments beside the model, as a dict."""
        return {name: getattr(self, name) for name in DEFAULTS}

    @property
    def request_defaults(self):
        """The values that settings get which a request leaves out, as a dict."""
        interval = self.guidance_interval or EVERYWHERE
        sizes = {"original_size": self.image_size, "crop_top_left": (0, 0), "target_size": self.image_size}
        return {**self.defaults, "guidance_interval": interval, "strength": self.strength, **sizes}

    @property
    def takes(self):
        """Names of what settings may go with here, see `Setting.needs`."""
        return (*self.needs, *self.model.conditioning_names)

    @property
    def latent_shape(self):
        """(height, width, channels) of the latents of one image."""
        autoencoder = self.model.autoencoder
        return (*(side // autoencoder.downsampling for side in self.image_size), autoencoder.latent_channels)

    def generate(
        self,
        prompts,
        *,
        images=None,
        masks=None,
        noise=None,
        num_images=1,
        batch_size=16,
        callback=None,
        **settings,
    ):
        """Images of what the prompts say.

        An image is a function of its prompt, its inputs and its settings alone: it is the same in any batch. A value
        that is given once counts for all prompts; a list has one for each.

        Args:
            prompts: str, or list of str. Words may have weights, see `settings.prompt_syntax`.
            images: images to start from, of `ImageToImage` and `Inpaint`: uint8 [0, 255] or float [-1, 1] array
                (height, width, 3) of the pipeline's `image_size` (`data.images.load_picture` reads and resizes a
                file), or (number of prompts, height, width, 3).
            masks: where to paint, of `Inpaint`: bool array (height, width), or one for each prompt. The grid of the
                latents is coarser than that of the pixels; latents that a mask touches are painted.
            noise: the initial noise, float of `latent_shape`, or one for each prompt: for instance one between two
                seeds, by `noise.interpolate`. The seed then counts only for samplers that add noise.
            num_images: images per prompt; they take the seeds seed, seed + 1, ...
            batch_size: images made at a time.
            callback: optional function (step, num_steps, decode), called after each step of a batch; `decode()` gives
                the images at this point, uint8. Makes the loop slower.
            negative_prompts: what to steer away from.
            num_steps: int >= 1, sampling steps. Where an image is given, a share of `strength` of them is taken.
            guidance_scale: float in [1, 1000]. 1 follows the prompt loosely, larger values strictly.
            guidance_rescale: float in [0, 1], how far to undo the contrast that guidance adds.
            guidance_interval: (low, high), the noise levels (noise rate / signal rate) between which guidance works;
                (0, inf) for all. Both are explained in `ClassifierFreeGuidance`.
            seed: int in [0, 2**31 - 1], of the initial noise; prompts may share one. By default drawn for each prompt.
            strength: float in [0, 1], how much of the given image, or of what is under the mask, to forget. 0 gives
                what the autoencoder makes of the image, 1 takes no notice of it.
            keep_pixels: bool, put the pixels of the given images back wherever the mask is False. Without it they are
                what the autoencoder makes of them, and there is no seam.
            original_size, crop_top_left, target_size: pairs of int in pixels, where the network takes `image_sizes`, as
                in Stable Diffusion XL, see `image_members`. Default: `image_size`, (0, 0) and `image_size`.
            sampler: name, dict of name and arguments, or `Sampler`.

        Returns:
            uint8 array (number of images, height, width, 3), the images of a prompt side by side; for one str and one
            image (height, width, 3).

        Raises:
            ValueError: no prompts, lists of other lengths than the prompts, an unknown setting or one out of bounds,
                an input that is missing or that this pipeline does not take.
        """
        request = Request.build(prompts, num_images=num_images, **settings)
        arrays = self.arrays(len(request) // num_images, num_images, images=images, masks=masks, noise=noise)
        watcher = None if callback is None else lambda step, *seen: step and callback(step, *seen)
        made = self.draw(self.resolve(request), arrays, batch_size, watcher)
        return made[0] if isinstance(prompts, (str, bytes)) and num_images == 1 else made

    def resolve(self, request):
        """The request with this pipeline's defaults.

        Raises:
            ValueError: more steps than the noise schedule has timesteps, or a setting that needs another pipeline.
        """
        for row in SETTINGS.values():
            if row.needs not in (None, *self.takes) and set(request[row.name]) - {None, row.default}:
                raise ValueError(f"`{row.name}` goes with `{row.needs}`, not with this {type(self).__name__}")
        request = request.with_defaults(self.request_defaults)
        most, total = max(request["num_steps"]), self.model.noise_schedule.num_train_timesteps
        if most > total:
            raise ValueError(f"`num_steps` must be a whole number from 1 to {total}. Received: num_steps={most}")
        samplers.get(request["sampler"])
        if self.guide is not None and any(request["negative_prompts"]):
            raise ValueError("`negative_prompts` needs a pipeline without `guide`. Received: a pipeline with a guide")
        return request

    def arrays(self, count, num_images=1, **given):
        """The checked inputs of a request beside its settings, one row for each image.

        Args:
            count: number of prompts.
            num_images: images per prompt.
            given: `images`, `masks`, `noise`, each for all prompts or one for each; None where there is none.
        """
        given = {name: value for name, value in given.items() if value is not None}
        for name in ("images", "masks"):
            if (name in given) != (name in self.needs):
                told = "needs" if name in self.needs else "does not take"
                raise ValueError(f"{type(self).__name__} {told} `{name}`")
        checked = checked_arrays(given, count, self.image_size, self.latent_shape)
        return {name: np.repeat(rows, num_images, axis=0) for name, rows in checked.items()}

    @staticmethod
    def count_steps(request):
        """The sampling steps that each image of a resolved request takes, a list of ints."""
        return (np.array(request["num_steps"]) - np.floor(first_steps(request))).astype(int).tolist()

    def draw(self, request, arrays, batch_size=16, watcher=None):
        """uint8 images (n, height, width, 3) of a resolved request and its arrays, see `resolve` and `arrays`.

        `watcher` is a `callback` of `generate` that sees step 0, too: what the loop begins with.
        """
        made = []
        for start in range(0, len(request), check_count("batch_size", batch_size)):
            rows = slice(start, start + batch_size)
            batch = {name: values[rows] for name, values in arrays.items()}
            latents = self._sample(request.rows(rows.start, rows.stop), batch, watcher)
            made.append(ops.convert_to_numpy(self._decode(latents)))
        made = np.concatenate(made)
        keep = np.array(request["keep_pixels"])
        return with_kept_pixels(made, arrays["images"], arrays["masks"], keep) if keep.any() else made

    def encode_text(self, token_ids):
        """Token ids, int32 (batch, tokens), -> the conditioning, see `LatentDiffusion.condition_without_image`."""
        return self.model.condition_without_image(token_ids, self.image_size)

    def denoiser(self, conditioning, guidance_scale=None, guidance_rescale=None, guidance_interval=None, shares=None):
        """A denoiser for a conditioning; with `guidance_scale`, negative prompts follow unless a `guide` is there.

        `guidance_rescale` and `guidance_interval` are by default those of the pipeline. `shares` are those of prompts
        that are mixtures, see `prompt_weights.encode`.
        """
        rescale = self.guidance_rescale if guidance_rescale is None else guidance_rescale
        interval = self.guidance_interval if guidance_interval is None else guidance_interval
        guidance = None if guidance_scale is None else (guidance_scale, rescale, interval)
        return make_denoiser(self.model, conditioning, guidance, shares, self.guide)

    def _sample(self, request, arrays, watcher):
        """Latents of one batch."""
        guided = any(scale != 1.0 for scale in request["guidance_scale"])
        texts = request.parsed["prompts"]
        texts += request.parsed["negative_prompts"] if guided and self.guide is None else ()
        conditioning, shares = prompt_weights.encode(texts, self.model.text_encoder, self._encode_text)
        sizes = image_members.of_settings(self.model.conditioning_names, lambda row: rows_of(request, row))
        inputs = {"conditioning": trees.replaced(conditioning, sizes), "first_step": first_steps(request)}
        inputs |= {row.wire: rows_of(request, row) for row in (SEED, NUM_STEPS, *GUIDANCE)}
        inputs |= {} if shares is None else {"shares": shares}
        loop = self._loop(request["sampler"], guided)
        latents = arrays["noise"] if "noise" in arrays else seeded.normal(inputs["seeds"], self.latent_shape)
        if "images" in arrays:
            known = self._encode_images(arrays["images"])
            latents = loop.start(known, latents, inputs)
            if "masks" in arrays:
                inputs |= known_inputs(self.model, self._encode_images, known, inputs["conditioning"], arrays)
        if watcher is None:
            return loop.run(latents, inputs)
        count = max(self.count_steps(request))
        for index, frame in enumerate(loop.watch(latents, inputs)):
            watcher(index, count, lambda x=frame.noisy_latents: ops.convert_to_numpy(self._decode(x)))
        return frame.noisy_latents

    def _loop(self, sampler, guided):
        """The `Loop` of a sampler, kept for the next call."""
        key = (samplers.get(sampler), guided)
        if key not in self._loops:
            self._loops[key] = Loop(self, key[0], tuple(row.name for row in GUIDANCE) if guided else ())
        return self._loops[key]
