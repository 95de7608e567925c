"""Between the stages: encodes the images and their variations once, so that stage two trains on latents alone."""

import logging
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from latentdiff.data.captioned_images import load_images
from latentdiff.data.latent_cache import save_latents
from latentdiff.data.variations import vary
from latentdiff.models.compilation import compile_function
from latentdiff.presets.preset import load_preset

BATCH_SIZE = 64
log = logging.getLogger(__name__)


def encode_latents(run, data, skip_corrupt=False, init=None):
    """Writes `latents_SPLIT.npy` and `latents_SPLIT.json` of the training split and of the validation split.

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
        for split in filter(None, (run.train_split, experiment.validation_split)):
            kept = split if split in (experiment.split, experiment.validation_split) else None  # None: all images
            pictures = load_images(data, experiment.image_size, kept, skip_corrupt, run.limit)
            variations = () if split == experiment.validation_split else experiment.variations
            latents, records = encode_all(
                pictures, encode, vary(pictures, variations, experiment.seed, experiment.kept_out)
            )
            save_latents(run.output, split, autoencoder, latents, records)
            log.info("%s: latents %s, mean %.3f, std %.3f", split, latents.shape, latents.mean(), latents.std())


def encode_all(pictures, encode, variations_of):
    """Latents (n, 1 + variations, h, w, channels), and the records of each image and its variations."""
    latents, records = [], []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(pictures), BATCH_SIZE):
            rows = range(start, min(start + BATCH_SIZE, len(pictures)))
            images, batch_records = zip(*pool.map(variations_of, rows), strict=True)
            images = np.pad(images, ((0, BATCH_SIZE - len(rows)),) + ((0, 0),) * 4)  # (64, k, size, size, 3)
            parts = [keras.ops.convert_to_numpy(encode(images[:, k])) for k in range(images.shape[1])]
            latents.append(np.stack(parts, axis=1)[: len(rows)])
            records.extend(batch_records)
    return np.concatenate(latents), records
