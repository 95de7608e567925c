"""Distils a preset: its network, or an adapter for it, learns to sample in few steps without guidance."""

import logging

from latentdiff.convert.lora_files import load_lora, save_lora
from latentdiff.diffusion import samplers
from latentdiff.models.distilled_diffusion import DistilledDiffusion
from latentdiff.pipelines.text_to_image import TextToImage
from latentdiff.recipes.diffusion import fit_network, load_parts
from latentdiff.recipes.run import SHARD_BYTES
from latentdiff.recipes.start import start_pipeline
from latentdiff.settings.table import EVERYWHERE

ADAPTER = "steps"
log = logging.getLogger(__name__)


def distil(run, init):
    """Trains one phase after the other, and writes the outcome of each: `steps_8.safetensors`, `steps_4....`, or,
    where the experiment has no `lora`, presets `steps_8`, `steps_4`, ...

    Args:
        run: `Run` whose folder holds the latents, made by the autoencoder of the preset. Its experiment says the
            steps of each phase (`distilled_steps`) and the adapter (`lora`); its epochs are those of each phase.
        init: the preset. Its guidance is learned along.

    Returns:
        `TextToImage` that samples in the number of steps of the last phase.

    Raises:
        ValueError: no latents, or those of another autoencoder.
    """
    with run.started():
        start = start_pipeline(run.experiment, init)
        parts = load_parts(run, start.model.autoencoder)
        model = _student(start, run.experiment)
        for index, num_steps in enumerate(run.experiment.distilled_steps):
            pipeline = few_step_pipeline(start, num_steps, model=model)
            outcome = _Outcome(run, start.model, pipeline, num_steps)
            if not run.is_finished(outcome.stage, outcome.path):
                model.begin_phase(num_steps, **(_teacher(start, num_steps) if index == 0 else {}))
                fit_network(pipeline, parts, run, outcome.stage, outcome.write)
                outcome.write()  # a run that is resumed may have no epoch left
                run.finish(outcome.stage)
                log.info("%d steps written to %s", num_steps, outcome.path)
            outcome.read()  # as rounded in the file, so that a run that is resumed goes on from the same weights
    return pipeline


def few_step_pipeline(pipeline, num_steps, model=None):
    """A `TextToImage` that asks as a distilled model is to be asked: DDIM, unguided, as cold as before."""
    sampler = {"name": "ddim", "temperature": samplers.get(pipeline.sampler).temperature}
    changes = {"sampler": sampler, "num_steps": num_steps, "guidance_scale": 1.0}
    return TextToImage(model or pipeline.model, **{**pipeline.defaults, **changes})


def _student(start, experiment):
    temperature = samplers.get(start.sampler).temperature
    model = DistilledDiffusion(start.model, temperature, seed=experiment.seed)
    if experiment.lora:
        model.lora.add(ADAPTER, seed=experiment.seed, **experiment.lora)
        log.info("adapter: %s parameters", f"{model.lora[ADAPTER].count_params() - 1:,}")  # without the scale
    return model


def _teacher(pipeline, num_steps):
    """The teacher of the first phase samples as the preset does, in as many steps as its own or just above."""
    sampler = samplers.get(pipeline.sampler)
    return {"guidance": _guidance(pipeline), "sampler": sampler, "substeps": -(-pipeline.num_steps // num_steps)}


def _guidance(pipeline):
    """What guides the teacher of the first phase: what the preset asks for, or None."""
    if pipeline.guidance_scale == 1.0:
        return None
    interval = pipeline.guidance_interval
    interval = None if interval is None or tuple(interval) == EVERYWHERE else tuple(interval)
    return {
        "guidance_scale": pipeline.guidance_scale,
        "rescale": pipeline.guidance_rescale,
        "interval": interval,
    }


class _Outcome:
    """What a phase leaves: a LoRA file, or a preset."""

    def __init__(self, run, model, pipeline, num_steps):
        self.stage = f"steps_{num_steps}"
        self.is_adapter = bool(run.experiment.lora)
        self.path = run.output / (f"{self.stage}.safetensors" if self.is_adapter else self.stage)
        self.model = pipeline.model
        self.plain = TextToImage(model, **pipeline.defaults)

    def write(self):
        if self.is_adapter:
            save_lora(self.path, self.model, ADAPTER, dtype="float16")
        else:
            self.plain.save_to_preset(self.path, float16=True, max_shard_bytes=SHARD_BYTES)

    def read(self):
        if not self.is_adapter:
            self.model.network.set_weights(TextToImage.from_preset(self.path).model.network.get_weights())
            return
        read = self.model.lora[load_lora(self.path, self.model)]
        for path, matrices in self.model.lora[ADAPTER].matrices.items():
            for variable, value in zip(matrices, read.matrices[path], strict=True):
                variable.assign(value)
        self.model.lora.remove(read.name)
