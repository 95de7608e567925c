"""Stage one: trains the autoencoder on images, measures its latents, and says how well it reconstructs."""

import dataclasses
import logging

import numpy as np

from latentdiff.data.batches import Batches, random_flip
from latentdiff.data.image_rows import open_images
from latentdiff.data.images import ImageForm, image_grid, save_png
from latentdiff.evaluation import psnr
from latentdiff.models.autoencoder import Autoencoder
from latentdiff.models.losses import LPIPS
from latentdiff.models.pixels import to_uint8
from latentdiff.pipelines.text_to_image import TextToImage
from latentdiff.presets.weights import check_room
from latentdiff.recipes.devices import fitting_batch_size, host_share
from latentdiff.recipes.run import fit, optimizer
from latentdiff.whole_files import replaced

LPIPS_WEIGHTS = "lpips_alexnet_f16.npz"
BATCH_SIZE = 50  # images reconstructed at once
SHOWN = 32  # of them in `autoencoder.png`
log = logging.getLogger(__name__)


def train_autoencoder(run, data, metrics=None, init=None, skip_corrupt=False):
    """Trains the autoencoder and writes `autoencoder.keras`, and `autoencoder.png`: images beside reconstructions.

    Args:
        run: `Run`.
        data: images with captions, see `load_images`.
        metrics: optional folder with the weights of LPIPS; without it there is no perceptual loss.
        init: optional preset whose autoencoder training starts from.
        skip_corrupt: whether to leave out images that can't be decoded.

    Returns:
        the trained `Autoencoder`.
    """
    path = run.output / "autoencoder.keras"
    with run.started():
        if run.is_finished("autoencoder", path):
            return run.load_autoencoder()
        images, held_out = _open_images(run, data, skip_corrupt)
        autoencoder = _build(run.experiment, init)
        _fit(autoencoder, images, run, metrics)
        autoencoder.measure_latents(_in_order(images, run))
        with replaced(path) as draft:
            check_room(autoencoder, draft.parent)
            autoencoder.save(draft)
        _report(autoencoder, held_out, run)
        run.finish("autoencoder")
    return autoencoder


def _open_images(run, data, skip_corrupt):
    """The images to train on, and those to reconstruct for the report."""
    experiment, options = run.experiment, {"limit": run.limit, "skip_corrupt": skip_corrupt}
    form = ImageForm(experiment.image_size, experiment.background, experiment.crop)
    images = open_images(data, form, experiment.split, **options)
    if not experiment.validation_split:
        return images, images
    whole = dataclasses.replace(form, crop="centre")
    return images, open_images(data, whole, experiment.validation_split, **options)


def _reading(images, run):
    """The arguments of `Batches` that say who reads the images."""
    if images.in_memory:
        return {"workers": 2}
    return {"processes": run.experiment.read_processes}


def _in_order(images, run):
    """Batches of all images in their order."""
    batch_size = min(BATCH_SIZE, len(images))
    return Batches({"images": images}, batch_size, shuffle=False, drop_remainder=False, **_reading(images, run))


def _build(experiment, init):
    autoencoder = Autoencoder(**experiment.autoencoder)
    if init:
        start = TextToImage.from_preset(init).model.autoencoder
        copy_weights(start, autoencoder, "autoencoder")
    return autoencoder


def copy_weights(start, model, name):
    """Copies the weights of `start` to a model of the same sizes; ValueError in one line if they differ."""
    shapes = [[tuple(weight.shape) for weight in part.weights] for part in (start, model)]
    if shapes[0] != shapes[1]:
        counts = [f"{part.count_params():,}" for part in (start, model)]
        raise ValueError(
            f"`{name}` of the experiment must have the sizes of the preset that training starts from. "
            f"Received: {counts[1]} parameters, where the preset has {counts[0]}"
        )
    model.set_weights(start.get_weights())


def _fit(autoencoder, images, run, metrics):
    experiment = run.experiment
    batches = Batches(
        {"images": images},
        fitting_batch_size(experiment.autoencoder_batch_size, len(images)),
        seed=experiment.seed,
        passes=experiment.autoencoder_passes,
        transform=random_flip if experiment.flip else None,
        permutation=images.permutation,
        share=host_share(),
        name=images.name,
        **_reading(images, run),
    )
    epochs, clock = run.length(experiment.autoencoder_epochs)
    log.info("%d images, %d steps an epoch", len(images), len(batches))
    if metrics is None and autoencoder.perceptual_weight:
        log.info("no perceptual loss: it needs --metrics")
        autoencoder.perceptual_weight = 0.0
    autoencoder.compile(
        optimizer(experiment.autoencoder_learning_rate, epochs * len(batches), experiment.autoencoder_ema),
        perceptual_loss=LPIPS(f"{metrics}/{LPIPS_WEIGHTS}") if metrics else None,
    )
    fit(autoencoder, batches, run, "autoencoder", epochs, clock)


def _report(autoencoder, images, run):
    """Logs the PSNR of the reconstructions and writes `autoencoder.png`."""
    batches, values, shown = _in_order(images, run), [], []
    for index in range(len(batches)):
        batch = batches[index]["images"]
        decoded = np.asarray(to_uint8(autoencoder.decode(autoencoder.encode(batch))))
        values.append(psnr(batch, decoded))
        shown.extend(zip(batch[: SHOWN - len(shown)], decoded, strict=False))
    batches.close()
    mean, std = (np.asarray(value.value) for value in (autoencoder.latent_mean, autoencoder.latent_std))
    log.info("latent mean %s, std %s", mean, std)
    kind = "held-out images" if run.experiment.validation_split else "training images"
    log.info("median PSNR of %d %s: %.2f dB", len(images), kind, np.median(np.concatenate(values)))
    pairs = np.array(shown).reshape(-1, *images.shape[1:])
    save_png(run.output / "autoencoder.png", image_grid(pairs, columns=8))
