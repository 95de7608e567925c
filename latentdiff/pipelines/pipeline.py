"""What all ways to a picture share: the model, its defaults, and the compiled functions from settings to pictures."""

import functools
import operator

import numpy as np
from keras import ops

from latentdiff.diffusion import noise as seeded
from latentdiff.diffusion import samplers
from latentdiff.diffusion.denoiser import Denoiser, KnownRegion, Mixture
from latentdiff.diffusion.guidance import Autoguidance, ClassifierFreeGuidance, check_guidance
from latentdiff.models import pixels
from latentdiff.models.compilation import compile_function
from latentdiff.models.networks import latent_size, taken_by
from latentdiff.pipelines import prompt_weights
from latentdiff.presets.preset import load_preset, save_preset
from latentdiff.settings.picture_settings import (
    check_batch_size,
    check_range,
    each,
    each_array,
    each_image,
    each_mask,
    each_negative_prompt,
    each_prompt,
    each_seed,
)
from latentdiff.settings.prompt_syntax import parse

# Arguments of `Pipeline` beside the model; presets keep them.
GUIDANCE = ("guidance_scale", "guidance_rescale", "guidance_interval")
SETTINGS = ("image_size", "sampler", "num_steps", *GUIDANCE)
# What is compiled depends on the model alone, so that pipelines can share it; the loops on the image size, too.
COMPILED = ("_encode_text", "_encode_images", "_decode")


class Pipeline:
    """Base of `TextToImage` and its relatives, which differ in what `generate` takes.

    Args:
        model: the `LatentDiffusion` model; several pipelines may share one.
        image_size: (height, width) of the pictures; default: what the network was built for.
        sampler: name or `Sampler`, the default of `generate`.
        num_steps, guidance_scale, guidance_rescale, guidance_interval: defaults of `generate`.
        guide: optional, a worse network for the same latents and conditioning: guidance is then `Autoguidance` by it,
            in place of `ClassifierFreeGuidance`, and there are no negative prompts.

    Raises:
        ValueError: no `image_size` while the network takes any, or one that the autoencoder can't make.
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
        guide=None,
    ):
        self.model = model
        self.guide = guide
        downsampling = model.autoencoder.downsampling
        if image_size is None:
            height, width = latent_size(model.network)
            if height is None or width is None:
                raise ValueError("`image_size` must be given for a network of any size. Received: image_size=None")
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
        self._encode_images = compile_function(model.autoencoder.encode, model)
        self._decode = compile_function(lambda latents: pixels.to_uint8(model.autoencoder.decode(latents)), model)
        self._loops = {}

    @classmethod
    def from_preset(cls, preset, **kwargs):
        """Opens a preset: the name of a shipped one, or a folder. Keyword arguments replace its settings."""
        model, settings = load_preset(preset)
        return cls(model, **{**settings, **kwargs})

    @classmethod
    def from_pipeline(cls, pipeline, **kwargs):
        """A pipeline of this kind around the model of another, with its settings; keyword arguments replace them."""
        made = cls(pipeline.model, **{**pipeline.defaults, "guide": pipeline.guide, **kwargs})
        for name in COMPILED:
            setattr(made, name, getattr(pipeline, name))
        if made.image_size == pipeline.image_size and made.guide is pipeline.guide:
            made._loops = pipeline._loops
        return made

    def save_to_preset(self, folder, float16=False, max_shard_bytes=None):
        """Writes model, tokenizer and settings into a folder, see `presets.preset.save_preset`."""
        self.check_no_guide()
        save_preset(folder, self.model, self.defaults, float16=float16, max_shard_bytes=max_shard_bytes)

    def check_no_guide(self):
        """Raises ValueError for a pipeline with a `guide`, which neither presets nor exports hold."""
        if self.guide is not None:
            raise ValueError("`guide` is in no preset and no export. Received: a pipeline with a guide")

    @property
    def defaults(self):
        """The arguments beside the model, as a dict."""
        return {name: getattr(self, name) for name in SETTINGS}

    @property
    def latent_shape(self):
        """(height, width, channels) of the latents of one picture."""
        autoencoder = self.model.autoencoder
        return (*(side // autoencoder.downsampling for side in self.image_size), autoencoder.latent_channels)

    def settings(
        self,
        prompts,
        negative_prompts=None,
        num_steps=None,
        guidance_scale=None,
        seed=None,
        num_images=1,
        strength=1.0,
        **arrays,
    ):
        """The checked settings of each picture: a dict of equally long lists and arrays.

        `arrays` are `images`, `masks` and `noise`, all optional. The rest are arguments of `generate`.
        """
        prompts = each_prompt(prompts)
        if operator.index(num_images) < 1:
            raise ValueError(f"`num_images` must be at least 1. Received: num_images={num_images}")
        num_steps = self.num_steps if num_steps is None else num_steps
        guidance_scale = self.guidance_scale if guidance_scale is None else guidance_scale
        count = len(prompts)
        settings = {
            "prompts": prompts,
            "negative_prompts": each_negative_prompt(negative_prompts, count),
            "num_steps": each(num_steps, count, "num_steps", operator.index),
            "guidance_scale": each(guidance_scale, count, "guidance_scale", float),
            **self._arrays(count, **arrays),
        }
        if self.guide is not None and any(settings["negative_prompts"]):
            raise ValueError(f"`negative_prompts` needs a pipeline without `guide`. Received: {negative_prompts=}")
        for name in ("prompts", "negative_prompts"):
            for prompt in settings[name]:
                parse(str(prompt), name)
        strength = each(strength, count, "strength", float)
        check_range(settings["num_steps"], 1, self.model.noise_schedule.num_train_timesteps, "num_steps")
        check_range(settings["guidance_scale"], 1.0, 1000.0, "guidance_scale")
        check_range(strength, 0.0, 1.0, "strength")
        settings["first_step"] = (settings["num_steps"] * (1.0 - strength)).astype("float32")
        settings = {name: np.repeat(values, num_images, axis=0) for name, values in settings.items()}
        settings["seeds"] = each_seed(seed, count, num_images)
        return {**settings, **{name: settings[name].tolist() for name in ("prompts", "negative_prompts")}}

    def _arrays(self, count, images=None, masks=None, noise=None):
        checks = {
            "images": (images, functools.partial(each_image, size=self.image_size)),
            "masks": (masks, functools.partial(each_mask, size=self.image_size)),
            "noise": (noise, functools.partial(each_array, name="noise", shape=self.latent_shape)),
        }
        return {name: check(value, count) for name, (value, check) in checks.items() if value is not None}

    @staticmethod
    def count_steps(settings):
        """The sampling steps that each picture of such settings takes, a list of ints."""
        return (settings["num_steps"] - np.floor(settings["first_step"])).astype(int).tolist()

    def encode_text(self, token_ids):
        """Token ids, int32 (batch, tokens), -> the conditioning, see `LatentDiffusion.condition`."""
        return self.model.condition(token_ids)

    def denoiser(
        self,
        conditioning,
        guidance_scale=None,
        guidance_rescale=None,
        guidance_interval=None,
        shares=None,
    ):
        """A denoiser for a conditioning; with `guidance_scale` and no `guide`, that of the negative prompts follows.

        `guidance_rescale` and `guidance_interval` are by default those of the pipeline. `shares` are those of prompts
        that are mixtures, see `prompt_weights.encode`.
        """
        model = self.model

        def plain(network):
            members = {name: conditioning[name] for name in taken_by(network, conditioning)}
            denoiser = Denoiser(network, model.noise_schedule, model.prediction_type, members)
            return denoiser if shares is None else Mixture(denoiser, shares)

        denoiser = plain(model.network)
        if guidance_scale is None:
            return denoiser
        options = self._guidance(guidance_rescale, guidance_interval)
        if self.guide is not None:
            return Autoguidance(denoiser, plain(self.guide), guidance_scale, *options)
        return ClassifierFreeGuidance(denoiser, guidance_scale, *options)

    def _guidance(self, rescale, interval):
        """The checked (rescale, interval) of guidance, with the defaults of the pipeline."""
        rescale = self.guidance_rescale if rescale is None else rescale
        interval = self.guidance_interval if interval is None else interval
        check_guidance(rescale, interval, "guidance_")
        return float(rescale), None if interval is None else tuple(map(float, interval))

    def _pictures(
        self,
        settings,
        guidance_rescale=None,
        guidance_interval=None,
        sampler=None,
        batch_size=16,
        callback=None,
    ):
        """uint8 pictures (n, height, width, 3) of checked settings; the arguments are those of `generate`."""
        guidance = self._guidance(guidance_rescale, guidance_interval)
        sampler = self.sampler if sampler is None else sampler
        check_batch_size(batch_size)
        pictures = []
        for start in range(0, len(settings["seeds"]), batch_size):
            batch = {name: values[start : start + batch_size] for name, values in settings.items()}
            latents = self._sample(batch, sampler, guidance, callback)
            pictures.append(ops.convert_to_numpy(self._decode(latents)))
        return np.concatenate(pictures)

    def _sample(self, batch, sampler, guidance, callback):
        """Latents of one batch."""
        guided = bool(np.any(batch["guidance_scale"] != 1.0))
        texts = batch["prompts"] + (batch["negative_prompts"] if guided and self.guide is None else [])
        conditioning, shares = prompt_weights.encode(texts, self.model.text_encoder, self._encode_text)
        numbers = {"guidance_scale": "float32", "num_steps": "int32", "seeds": "int32", "first_step": "float32"}
        inputs = {name: batch[name].astype(dtype) for name, dtype in numbers.items()}
        inputs["conditioning"] = conditioning
        if shares is not None:
            inputs["shares"] = shares
        sampler, start, whole_loop, one_step = self._compiled(sampler, guidance if guided else None)
        latents = batch.get("noise")
        latents = seeded.normal(inputs["seeds"], self.latent_shape) if latents is None else latents.astype("float32")
        if "images" in batch:
            known = self._encode_images(batch["images"])
            latents = start(known, latents, inputs["num_steps"], inputs["first_step"])
            if "masks" in batch:
                inputs |= {"known_latents": known, "repaint": self._on_latents(batch["masks"])}
        if callback is None:
            return whole_loop(latents, inputs)
        count = max(self.count_steps(batch))
        state = sampler.init_state(latents)
        for step in range(count):
            latents, state = one_step(latents, state, np.int32(step), inputs)
            callback(step + 1, count, lambda x=latents: ops.convert_to_numpy(self._decode(x)))
        return latents

    def _on_latents(self, masks):
        """bool (n, height, width) -> bool (n, h, w, 1): True for latents that cover any pixel of the mask."""
        height, width, _ = self.latent_shape
        tiles = masks.reshape(len(masks), height, masks.shape[1] // height, width, masks.shape[2] // width)
        return tiles.any(axis=(2, 4))[..., None]

    def _compiled(self, sampler, guidance):
        """A sampler, its compiled start, loop and single step, kept for the next call."""
        key = (samplers.get(sampler), guidance)
        if key not in self._loops:
            self._loops[key] = self._compile(*key)
        return self._loops[key]

    def _compile(self, sampler, guidance):
        schedule = self.model.noise_schedule

        def parts(inputs):
            guided = {} if guidance is None else dict(zip(GUIDANCE, (inputs["guidance_scale"], *guidance), strict=True))
            denoiser = self.denoiser(inputs["conditioning"], **guided, shares=inputs.get("shares"))
            if "repaint" in inputs:
                denoiser = KnownRegion(denoiser, schedule, inputs["known_latents"], inputs["repaint"])
            return denoiser, {name: inputs[name] for name in ("num_steps", "seeds", "first_step")}

        def start(latents, noise, num_steps, first_step):
            return sampler.start(schedule, latents, noise, num_steps, first_step)

        def whole_loop(noisy_latents, inputs):
            denoiser, settings = parts(inputs)
            return sampler.sample(denoiser, schedule, noisy_latents, **settings)

        def one_step(noisy_latents, state, step, inputs):
            denoiser, settings = parts(inputs)
            return sampler.advance(denoiser, schedule, noisy_latents, state, step, **settings)

        return sampler, *(compile_function(function, self.model) for function in (start, whole_loop, one_step))
