"""Between the stages: encodes the images and their variations once, so that stage two trains on latents alone."""

import logging
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from latentdiff.data.buckets import load_buckets
from latentdiff.data.captioned_images import load_images
from latentdiff.data.latent_cache import bucket_name, remove_buckets, save_latents
from latentdiff.data.variations import vary
from latentdiff.models.compilation import compile_function
from latentdiff.presets.preset import load_preset

BATCH_SIZE = 64
log = logging.getLogger(__name__)


def encode_latents(run, data, skip_corrupt=False, init=None):
    """Writes `latents_SPLIT.npy` and `latents_SPLIT.json` of the training split and of the validation split.

    With a `bucket_step` in the experiment the training split has such files for each bucket, `latents_SPLIT-HxW.npy`.

    Args:
        run: `Run` whose folder holds `autoencoder.keras`, or which gets it from `init`.
        data: images with captions, see `load_images`.
        skip_corrupt: whether to leave out images that can't be decoded.
        init: optional preset whose autoencoder is used as it is, in place of one from stage one.

    Raises:
        ValueError: no autoencoder, or `init` beside one of stage one.
    """
    experiment = run.experiment
    with run.started():
        keras.config.set_dtype_policy("float32")  # once for all epochs, so exactly
        if init:
            run.take_autoencoder(load_preset(init)[0].autoencoder)
        autoencoder = run.load_autoencoder()
        encode = compile_function(autoencoder.encode, autoencoder)
        _check_step(experiment.bucket_step, autoencoder.downsampling)
        remove_buckets(run.output, run.train_split)
        for split in filter(None, (run.train_split, experiment.validation_split)):
            kept = split if split in (experiment.split, experiment.validation_split) else None  # None: all images
            options = (kept, skip_corrupt, run.limit)
            variations = () if split == experiment.validation_split else experiment.variations
            for name, pictures in _pictures(experiment, data, split, options).items():
                latents, records = encode_all(
                    pictures, encode, vary(pictures, variations, experiment.seed, experiment.kept_out)
                )
                save_latents(run.output, name, autoencoder, latents, records)
                log.info("%s: latents %s, mean %.3f, std %.3f", name, latents.shape, latents.mean(), latents.std())


def _pictures(experiment, data, split, options):
    """dict of the name of a file of latents -> `CaptionedImages`: one, or one for each bucket of the training split."""
    size, step = experiment.image_size, experiment.bucket_step
    if step is None or split == experiment.validation_split:
        return {split: load_images(data, size, *options)}
    return {bucket_name(split, shape): part for shape, part in load_buckets(data, size, step, *options).items()}


def encode_all(pictures, encode, variations_of):
    """Latents (n, 1 + variations, h, w, channels), and the records of each image and its variations."""
    latents, records, size = [], [], min(BATCH_SIZE, len(pictures))
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(pictures), size):
            rows = range(start, min(start + size, len(pictures)))
            images, batch_records = zip(*pool.map(variations_of, rows), strict=True)
            images = np.pad(images, ((0, size - len(rows)),) + ((0, 0),) * 4)  # (size, k, height, width, 3)
            parts = [keras.ops.convert_to_numpy(encode(images[:, k])) for k in range(images.shape[1])]
            latents.append(np.stack(parts, axis=1)[: len(rows)])
            records.extend(batch_records)
    return np.concatenate(latents), records


def _check_step(step, multiple):
    if step is not None and step % multiple:
        raise ValueError(f"`bucket_step` must be a multiple of {multiple}, pixels per latent. Received: {step=}")
