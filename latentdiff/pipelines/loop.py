"""The sampling loop of a pipeline, compiled: as a whole, or step by step for those who watch it."""

import functools

from latentdiff.diffusion import conditioning as trees
from latentdiff.diffusion.denoiser import Denoiser, KnownRegion, Mixture
from latentdiff.diffusion.guidance import Autoguidance, ClassifierFreeGuidance
from latentdiff.diffusion.watching import observe, watch
from latentdiff.models import image_members
from latentdiff.models.compilation import compile_function
from latentdiff.models.networks import taken_by
from latentdiff.pipelines.arrays import masks_on_latents


class Loop:
    """The loop of one sampler. It is compiled when it first runs, see `compile_function`.

    Args:
        pipeline: the `Pipeline` whose denoiser is asked.
        sampler: a `Sampler`.
        guidance: names of the inputs that guide; empty where nothing is guided, which is half the work.
    """

    def __init__(self, pipeline, sampler, guidance):
        self.sampler = sampler
        self.noise_schedule = pipeline.model.noise_schedule
        self._make_denoiser = pipeline.denoiser
        self._guidance = guidance
        functions = (self._start, self._sample, self._observe)
        self._start, self._sample, self._observe = (compile_function(each, pipeline.model) for each in functions)

    def start(self, latents, noise, inputs):
        """Noisy latents to begin with, from those of the given images; see `Sampler.start`."""
        return self._start(latents, noise, inputs["num_steps"], inputs["first_step"])

    def run(self, noisy_latents, inputs):
        """The latents at the end of the loop.

        Args:
            noisy_latents: float32 (batch, h, w, channels).
            inputs: dict of `num_steps`, `seeds` and `first_step` (batch,), the `conditioning`, what guides, and
                perhaps the `shares` of mixtures, or `known_latents` and `repaint`, see `KnownRegion`.
        """
        return self._sample(noisy_latents, inputs)

    def watch(self, noisy_latents, inputs):
        """Yields a `Frame` before the first step and one after each; the arguments are those of `run`."""
        step = functools.partial(self._observe, inputs=inputs)
        places = (inputs["num_steps"], inputs["first_step"])
        return watch(self.sampler, self.noise_schedule, step, noisy_latents, *places)

    def _start(self, latents, noise, num_steps, first_step):
        return self.sampler.start(self.noise_schedule, latents, noise, num_steps, first_step)

    def _sample(self, noisy_latents, inputs):
        denoiser, places = self._parts(inputs)
        return self.sampler.sample(denoiser, self.noise_schedule, noisy_latents, **places)

    def _observe(self, noisy_latents, state, step, inputs):
        denoiser, places = self._parts(inputs)
        return observe(self.sampler, denoiser, self.noise_schedule, noisy_latents, state, step, **places)

    def _parts(self, inputs):
        guidance = {name: inputs[name] for name in self._guidance}
        denoiser = self._make_denoiser(inputs["conditioning"], **guidance, shares=inputs.get("shares"))
        if "repaint" in inputs:
            denoiser = KnownRegion(denoiser, self.noise_schedule, inputs["known_latents"], inputs["repaint"])
        return denoiser, {name: inputs[name] for name in ("num_steps", "seeds", "first_step")}


def known_inputs(model, encode, known_latents, conditioning, arrays):
    """The inputs of the loop that say what to keep: to a network that sees masks by its conditioning, else for
    `KnownRegion`.

    Args:
        model: the `LatentDiffusion` model.
        encode: `autoencoder.encode`, compiled.
        known_latents: float32 (batch, h, w, channels), of the images.
        conditioning: that of the prompts.
        arrays: dict of `images` and `masks`, see `Pipeline.arrays`.
    """
    images, masks = arrays["images"], arrays["masks"]
    members = image_members.of_masks(model.conditioning_names, encode, images, masks)
    if members:
        return {"conditioning": trees.replaced(conditioning, members)}
    return {"known_latents": known_latents, "repaint": masks_on_latents(masks, known_latents.shape[1:])}


def make_denoiser(model, conditioning, guidance=None, shares=None, guide=None):
    """The denoiser of a model for a conditioning.

    Args:
        model: the `LatentDiffusion` model.
        conditioning: that of the prompts; where negative prompts guide, theirs follows in the batch.
        guidance: None, or (scale, rescale, interval): a scale (batch,), the others one for all or one for each image,
            an interval of each image as (batch, 2).
        shares: those of prompts that are mixtures, see `prompt_weights.encode`.
        guide: optional, a worse network that guides in place of the negative prompts.
    """

    def of(network):
        members = {name: conditioning[name] for name in taken_by(network, conditioning)}
        denoiser = Denoiser(network, model.noise_schedule, model.prediction_type, members)
        return denoiser if shares is None else Mixture(denoiser, shares)

    if guidance is None:
        return of(model.network)
    scale, rescale, interval = guidance
    if len(getattr(interval, "shape", ())) == 2:
        interval = (interval[:, 0], interval[:, 1])
    if guide is not None:
        return Autoguidance(of(model.network), of(guide), scale, rescale, interval)
    return ClassifierFreeGuidance(of(model.network), scale, rescale, interval)
