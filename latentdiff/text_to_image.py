"""From words to pictures: the one place where all parts meet."""

import functools
import operator
import secrets

import numpy as np
from keras import ops

from latentdiff import images, noise, samplers
from latentdiff.compilation import compile_function
from latentdiff.denoiser import Denoiser
from latentdiff.guidance import ClassifierFreeGuidance, check_guidance


class TextToImage:
    """Makes pictures from prompts with a trained `LatentDiffusion` model.

    Args:
        model: the `LatentDiffusion` model.
        image_size: (height, width) of the pictures; default: what the U-Net was built for.
        sampler: name or `Sampler`, the default of `generate`.
        num_steps, guidance_scale, guidance_rescale, guidance_interval: defaults of `generate`.

    Raises:
        ValueError: no `image_size` while the U-Net takes any, or one that the autoencoder can't make.
    """

    def __init__(
        self,
        model,
        image_size=None,
        sampler="ddim",
        num_steps=50,
        guidance_scale=4.0,
        guidance_rescale=0.0,
        guidance_interval=None,
    ):
        self.model = model
        downsampling = model.autoencoder.downsampling
        if image_size is None:
            height, width = model.unet.latent_shape[:2]
            if height is None or width is None:
                raise ValueError("`image_size` must be given for a U-Net of any size. Received: image_size=None")
            image_size = (height * downsampling, width * downsampling)
        if any(side < 1 or side % downsampling for side in image_size):
            raise ValueError(f"`image_size` must be divisible by {downsampling}. Received: {image_size=}")
        self.image_size = tuple(image_size)
        self.sampler = sampler
        self.num_steps = num_steps
        self.guidance_scale = guidance_scale
        check_guidance(guidance_rescale, guidance_interval, "guidance_")
        self.guidance_rescale = guidance_rescale
        self.guidance_interval = guidance_interval
        self._encode_text = compile_function(self.encode_text, model)
        self._decode = compile_function(lambda latents: images.to_uint8(model.autoencoder.decode(latents)), model)
        self._loops = {}

    @classmethod
    def from_preset(cls, preset, **kwargs):
        """Opens a preset: the name of a shipped one, or a folder. Keyword arguments replace its settings."""
        from latentdiff import presets

        return presets.load_preset(preset, **kwargs)

    def save_to_preset(self, folder, float16=False, max_shard_bytes=None):
        """Writes model, tokenizer and settings into a folder, see `presets.save_preset`."""
        from latentdiff import presets

        presets.save_preset(self, folder, float16=float16, max_shard_bytes=max_shard_bytes)

    def export(self, folder, **options):
        """Writes a SavedModel for TF Serving into BASE/VERSION, see `export.saved_model.export_saved_model`."""
        from latentdiff.export.saved_model import export_saved_model

        return export_saved_model(self, folder, **options)

    @property
    def latent_shape(self):
        """(height, width, channels) of the latents of one picture."""
        autoencoder = self.model.autoencoder
        return (*(side // autoencoder.downsampling for side in self.image_size), autoencoder.latent_channels)

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

        Returns:
            uint8 array (number of pictures, height, width, 3), the pictures of a prompt side by side; for one str and
            one picture (height, width, 3).

        Raises:
            ValueError: no prompts, lists of other lengths than the prompts, or settings out of range.
        """
        single = isinstance(prompts, str) and num_images == 1
        settings = self.settings(prompts, negative_prompts, num_steps, guidance_scale, seed, num_images)
        guidance = self._guidance(guidance_rescale, guidance_interval)
        sampler = self.sampler if sampler is None else sampler
        if operator.index(batch_size) < 1:
            raise ValueError(f"`batch_size` must be at least 1. Received: batch_size={batch_size}")
        pictures = []
        for start in range(0, len(settings["seeds"]), batch_size):
            batch = {name: values[start : start + batch_size] for name, values in settings.items()}
            latents = self._sample(sampler, guidance, callback, **batch)
            pictures.append(ops.convert_to_numpy(self._decode(latents)))
        pictures = np.concatenate(pictures)
        return pictures[0] if single else pictures

    def settings(self, prompts, negative_prompts=None, num_steps=None, guidance_scale=None, seed=None, num_images=1):
        """The checked settings of each picture: a dict of equally long lists and arrays, as `generate` uses them."""
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        if not prompts or not all(isinstance(prompt, str) for prompt in prompts):
            raise ValueError(f"`prompts` must be a str or a list of at least one str. Received: prompts={prompts}")
        if operator.index(num_images) < 1:
            raise ValueError(f"`num_images` must be at least 1. Received: num_images={num_images}")
        total = self.model.noise_schedule.num_train_timesteps
        num_steps = self.num_steps if num_steps is None else num_steps
        guidance_scale = self.guidance_scale if guidance_scale is None else guidance_scale
        count = len(prompts)
        repeat = functools.partial(np.repeat, repeats=num_images, axis=0)
        if seed is None:
            seeds = np.array([secrets.randbelow(noise.MAX_SEED) for _ in range(count * num_images)])
        else:
            seeds = repeat(_each(seed, count, "seed", operator.index)) + np.tile(np.arange(num_images), count)
        settings = {
            "prompts": list(repeat(prompts)),
            "negative_prompts": list(repeat(_each(negative_prompts or "", count, "negative_prompts", str))),
            "num_steps": repeat(_each(num_steps, count, "num_steps", operator.index)),
            "guidance_scale": repeat(_each(guidance_scale, count, "guidance_scale", float)),
            "seeds": seeds,
        }
        _check_range(settings["num_steps"], 1, total, "num_steps")
        _check_range(settings["guidance_scale"], 1.0, 1000.0, "guidance_scale")
        _check_range(seeds, 0, noise.MAX_SEED, "seed")
        return settings

    def encode_text(self, token_ids):
        """int32 (batch, tokens) -> context float32 (batch, tokens, dim), context_mask bool (batch, tokens)."""
        return self.model.text_encoder(token_ids), self.model.text_encoder.mask(token_ids)

    def denoiser(self, context, context_mask, guidance_scale=None, guidance_rescale=None, guidance_interval=None):
        """A denoiser for text features; with `guidance_scale`, those of the negative prompts follow in the batch.

        `guidance_rescale` and `guidance_interval` are by default those of the pipeline.
        """
        model = self.model
        denoiser = Denoiser(model.unet, model.noise_schedule, model.prediction_type, context, context_mask)
        if guidance_scale is None:
            return denoiser
        return ClassifierFreeGuidance(denoiser, guidance_scale, *self._guidance(guidance_rescale, guidance_interval))

    def _guidance(self, rescale, interval):
        """The checked (rescale, interval) of guidance, with the defaults of the pipeline."""
        rescale = self.guidance_rescale if rescale is None else rescale
        interval = self.guidance_interval if interval is None else interval
        check_guidance(rescale, interval, "guidance_")
        return float(rescale), None if interval is None else tuple(map(float, interval))

    def _sample(self, sampler, guidance, callback, prompts, negative_prompts, num_steps, guidance_scale, seeds):
        """Latents of one batch."""
        guided = bool(np.any(guidance_scale != 1.0))
        texts = prompts + negative_prompts if guided else prompts
        context, context_mask = self._encode_text(self.model.text_encoder.tokenize(texts))
        num_steps, seeds = num_steps.astype("int32"), seeds.astype("int32")
        inputs = (context, context_mask, guidance_scale.astype("float32"), num_steps, seeds)
        noisy_latents = noise.normal(seeds, self.latent_shape)
        sampler, whole_loop, one_step = self._compiled(sampler, guidance if guided else None)
        if callback is None:
            return whole_loop(noisy_latents, *inputs)
        latents, state = noisy_latents, sampler.init_state(noisy_latents)
        for step in range(int(num_steps.max())):
            latents, state = one_step(latents, state, np.int32(step), *inputs)
            callback(step + 1, int(num_steps.max()), lambda x=latents: ops.convert_to_numpy(self._decode(x)))
        return latents

    def _compiled(self, sampler, guidance):
        """A sampler, its compiled loop and its compiled single step, kept for the next call."""
        key = (str(sampler) if isinstance(sampler, (str, dict)) else sampler, guidance)
        if key not in self._loops:
            self._loops[key] = self._compile(samplers.get(sampler), guidance)
        return self._loops[key]

    def _compile(self, sampler, guidance):
        schedule = self.model.noise_schedule

        def denoiser(context, context_mask, guidance_scale):
            if guidance is None:
                return self.denoiser(context, context_mask)
            return self.denoiser(context, context_mask, guidance_scale, *guidance)

        def whole_loop(noisy_latents, context, context_mask, guidance_scale, num_steps, seeds):
            guided = denoiser(context, context_mask, guidance_scale)
            return sampler.sample(guided, schedule, noisy_latents, num_steps, seeds)

        def one_step(noisy_latents, state, step, context, context_mask, guidance_scale, num_steps, seeds):
            guided = denoiser(context, context_mask, guidance_scale)
            return sampler.advance(guided, schedule, noisy_latents, state, step, num_steps, seeds)

        return sampler, compile_function(whole_loop, self.model), compile_function(one_step, self.model)


def _each(value, count, name, convert):
    """`value` for each of `count` prompts: repeated if it is one, checked for length if it is many."""
    if isinstance(value, (str, bytes)) or np.ndim(value) == 0:
        value = [value] * count
    if len(value) != count:
        raise ValueError(f"`{name}` must be one value or one for each of the {count} prompts. Received: {len(value)}")
    try:
        return np.array([convert(entry) for entry in value])
    except TypeError as error:
        raise ValueError(f"`{name}` has a value of the wrong type: {error}. Received: {name}={value}") from error


def _check_range(values, low, high, name):
    wrong = [value for value in values.tolist() if not low <= value <= high]
    if wrong:
        raise ValueError(f"`{name}` must lie in [{low}, {high}]. Received: {name}={wrong[0]}")
