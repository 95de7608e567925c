"""Trains a new word for a preset (textual inversion), and writes its file after each epoch."""

import logging

import numpy as np

from latentdiff.convert.textual_inversion import save_textual_inversion
from latentdiff.recipes.diffusion import fit_network, load_parts
from latentdiff.recipes.start import start_pipeline

STAGE, FILE = "textual_inversion", "textual_inversion.safetensors"
log = logging.getLogger(__name__)


def train_textual_inversion(run, init):
    """Trains a word and writes `textual_inversion.safetensors`, and previews. All weights of the preset stay.

    Args:
        run: `Run` whose folder holds the latents, made by the autoencoder of the preset; the word is
            `run.experiment.textual_inversion`, and captions must have it.
        init: the preset.

    Returns:
        `TextToImage` around the model of the preset, with the word.

    Raises:
        ValueError: no latents, or those of another autoencoder; no caption with the word; a word that can be none.
    """
    settings = dict(run.experiment.textual_inversion)
    text, path = settings.pop("word"), run.output / FILE
    with run.started():
        pipeline = start_pipeline(run.experiment, init)
        if run.is_finished(STAGE, path):
            pipeline.load_textual_inversion(path)
            return pipeline
        model = pipeline.model
        model.text_encoder.words.add(text, **settings)
        parts = load_parts(run, model.autoencoder)
        _check_captions(text, [varied for _, records in parts for varied in records], run.experiment)

        def save():
            save_textual_inversion(path, model, text)

        fit_network(pipeline, parts, run, STAGE, save)
        save()  # a run that is resumed may have no epoch left
        run.finish(STAGE)
    log.info("word written to %s", path)
    return pipeline


def _check_captions(text, records, experiment):
    """Raises ValueError if no caption has the word."""
    rng = np.random.default_rng(experiment.seed)
    captions = [caption for varied in records for record in varied for caption in experiment.captions(record, rng)]
    if not any(text in caption for caption in captions):
        raise ValueError(f"`word` must be in captions of the images. Received: word={text!r}, captions {captions[:3]}")
