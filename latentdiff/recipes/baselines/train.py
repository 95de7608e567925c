"""Trains a baseline on the latents of a run."""

import logging
import time

import keras
import numpy as np

from latentdiff.data.batches import Batches
from latentdiff.data.latent_cache import load_latents
from latentdiff.recipes.baselines.gan import GAN
from latentdiff.recipes.baselines.networks import caption_features
from latentdiff.recipes.baselines.vae import VAE
from latentdiff.recipes.devices import fitting_batch_size
from latentdiff.recipes.run import fit, optimizer
from latentdiff.recipes.text_encoder import load_text_encoder
from latentdiff.whole_files import replaced

WIDTH, QUICK_WIDTH = 256, 32
# Class, learning rate (None: that of the experiment), beta_1: two networks that compete want no momentum.
BASELINES = {"vae": (VAE, None, 0.9), "gan": (GAN, 2e-4, 0.0)}
log = logging.getLogger(__name__)


def train_baseline(name, run, text_encoder):
    """Trains a baseline and writes its generator, NAME.keras: Gaussian codes and text features -> latents.

    Args:
        name: "vae" or "gan".
        run: `Run` whose folder holds `autoencoder.keras` and the latents.
        text_encoder: folder or name of a KerasHub text preset.

    Returns:
        the generator.
    """
    if name not in BASELINES:
        raise ValueError(f"`name` must be one of {sorted(BASELINES)}. Received: name={name!r}")
    kind, learning_rate, beta_1 = BASELINES[name]
    experiment = run.experiment
    path = run.output / f"{name}.keras"
    with run.started():
        if run.is_finished(name, path):
            return keras.saving.load_model(path, compile=False)
        batches, shapes = _load(run, text_encoder)
        model = kind(*shapes, QUICK_WIDTH if run.quick else WIDTH, experiment.seed)
        epochs, clock = run.length(experiment.epochs)
        rate = optimizer(learning_rate or experiment.learning_rate, epochs * len(batches), experiment.ema, beta_1)
        model.compile(rate, steps_per_execution=experiment.steps_per_execution)
        start = time.perf_counter()
        fit(model, batches, run, name, epochs, clock)
        log.info("%s parameters, %.0f s in fit", f"{model.generator.count_params():,}", time.perf_counter() - start)
        with replaced(path) as draft:
            model.generator.save(draft)
        run.finish(name)
    return model.generator


def _load(run, text_encoder):
    """Batches of latents and text features, and their shapes."""
    experiment = run.experiment
    latents, records = load_latents(run.output, run.train_split, run.load_autoencoder())
    latents, captions = np.asarray(latents[:, 0]), [record["caption"] for record, *_ in records]  # no variations
    features = caption_features(load_text_encoder(text_encoder, experiment), captions)
    batch_size = fitting_batch_size(experiment.batch_size, len(latents))
    arrays = {"latents": latents, "features": features}
    batches = Batches(arrays, batch_size, seed=experiment.seed, passes=experiment.passes)
    return batches, (latents.shape[1:], features.shape[-1])
