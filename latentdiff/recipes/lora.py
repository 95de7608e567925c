"""Trains a low-rank adapter (LoRA) for a preset, and writes its file after each epoch."""

import logging

from latentdiff.convert.lora_files import save_lora
from latentdiff.recipes.diffusion import fit_network, load_parts
from latentdiff.recipes.start import start_pipeline

STAGE, FILE = "lora", "lora.safetensors"
log = logging.getLogger(__name__)


def train_lora(run, init):
    """Trains an adapter and writes `lora.safetensors`, and previews. All weights of the preset stay as they are.

    Args:
        run: `Run` whose folder holds the latents, made by the autoencoder of the preset; the adapter is
            `run.experiment.lora`.
        init: the preset.

    Returns:
        `TextToImage` around the model of the preset, with the adapter.

    Raises:
        ValueError: no latents, or those of another autoencoder.
    """
    with run.started():
        pipeline = _build(run.experiment, init)
        path, model = run.output / FILE, pipeline.model
        if run.is_finished(STAGE, path):
            model.lora.clear()
            pipeline.load_lora(path)
            return pipeline
        parts = load_parts(run, model.autoencoder)
        log.info("adapter: %s parameters", f"{model.lora[STAGE].count_params() - 1:,}")  # without the scale
        fit_network(pipeline, parts, run, STAGE, lambda: _save(path, model))
        _save(path, model)  # a run that is resumed may have no epoch left
        run.finish(STAGE)
    log.info("adapter written to %s", path)
    return pipeline


def _save(path, model):
    save_lora(path, model, STAGE, dtype="float16")


def _build(experiment, init):
    """The pipeline of a preset, with a new adapter."""
    pipeline = start_pipeline(experiment, init)
    pipeline.model.lora.add(STAGE, seed=experiment.seed, **experiment.lora)
    return pipeline
