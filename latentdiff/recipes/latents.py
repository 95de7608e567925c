"""Between the stages: encodes the images and their variations once, so that stage two trains on latents alone."""

import logging
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from latentdiff.data.buckets import load_buckets
from latentdiff.data.captioned_images import load_images, open_rows, read_images
from latentdiff.data.images import ImageForm
from latentdiff.data.latent_cache import LatentCache, bucket_name, cache_key, remove_buckets
from latentdiff.data.rows import Subset, fingerprint
from latentdiff.data.variations import vary
from latentdiff.models.coding import posterior
from latentdiff.models.compilation import compile_function
from latentdiff.presets.preset import load_preset

BATCH_SIZE = 64
log = logging.getLogger(__name__)


def encode_latents(run, data, skip_corrupt=False, init=None, part=(0, 1)):
    """Writes the folders `latents_SPLIT` of the training split and of the validation split, see `data.latent_cache`.

    With a `bucket_step` in the experiment the training split has such a folder for each bucket, `latents_SPLIT-HxW`.
    When it is interrupted and called again, it keeps the shards that are written, if model, data and settings are the
    same. Images are read shard by shard; with variations or buckets they are in memory as a whole.

    Args:
        run: `Run` whose folder holds `autoencoder.keras`, or which gets it from `init`.
        data: images with captions, see `load_images`.
        skip_corrupt: whether to leave out images that can't be decoded.
        init: optional preset whose autoencoder is used as it is, in place of one from stage one.
        part: (i, n) writes only each n-th shard, from shard i, counted from 0: n processes share the work.

    Raises:
        ValueError: no autoencoder, or `init` beside one of stage one.
    """
    experiment = run.experiment
    with run.started(part):
        keras.config.set_dtype_policy("float32")  # once for all epochs, so exactly
        if init:
            run.take_autoencoder(load_preset(init)[0].autoencoder)
        autoencoder = run.load_autoencoder()
        encode = compile_function(lambda images: posterior(autoencoder, images), autoencoder)
        _check_step(experiment.bucket_step, autoencoder.downsampling)
        for split in filter(None, (run.train_split, experiment.validation_split)):
            kept = split if split in (experiment.split, experiment.validation_split) else None  # None: all images
            rows = open_rows(data, kept, run.limit)
            options = (kept, skip_corrupt, run.limit, experiment.background)
            parts = _parts(experiment, data, split, rows, options)
            remove_buckets(run.output, split, parts)
            for name, pictures in parts.items():
                about = {**_about(experiment, split, rows), "skip_corrupt": skip_corrupt}
                about["key"] = cache_key(autoencoder, pictures.size)
                cache = LatentCache(run.output, name, len(pictures), about)
                _encode(cache, pictures, encode, part, experiment.flip_latents)


def _about(experiment, split, rows):
    """What the latents depend on beside the autoencoder."""
    names = [getattr(variation, "__name__", str(variation)) for variation in _variations(experiment, split)]
    kept_out = [list(things) for things in experiment.kept_out] if names else []
    seed = experiment.seed if names else None
    about = {"data": fingerprint(rows), "variations": names, "kept_out": kept_out, "seed": seed}
    about |= {"bucket_step": experiment.bucket_step, "background": experiment.background}
    return {**about, "flips": experiment.flip_latents}


def _variations(experiment, split):
    return () if split == experiment.validation_split else experiment.variations


def _parts(experiment, data, split, rows, options):
    """dict of the name of a cache -> its images: one, or one for each bucket of the training split."""
    size, variations = experiment.image_size, _variations(experiment, split)
    if experiment.bucket_step is not None and split != experiment.validation_split:
        buckets = load_buckets(data, size, experiment.bucket_step, *options)
        return {bucket_name(split, shape): _InMemory(part, variations, experiment) for shape, part in buckets.items()}
    if variations:
        return {split: _InMemory(load_images(data, size, *options), variations, experiment)}
    return {split: _OnDisk(rows, ImageForm(size, experiment.background), skip_corrupt=options[1])}


class _InMemory:
    """Images with variations, whose partners are any others."""

    def __init__(self, pictures, variations, experiment):
        self.pictures, self.size = pictures, pictures.images.shape[1:3]
        self.variations_of = vary(pictures, variations, experiment.seed, experiment.kept_out)

    def __len__(self):
        return len(self.pictures)

    def read(self, rows):
        """(row numbers, function from one of them to images and records) of a range of rows."""
        return rows, self.variations_of


class _OnDisk:
    """Images without variations, that are read shard by shard."""

    def __init__(self, rows, form, skip_corrupt):
        self.rows, self.form, self.size, self.skip_corrupt = rows, form, form.image_size, skip_corrupt

    def __len__(self):
        return len(self.rows)

    def read(self, rows):
        pictures = read_images(Subset(self.rows, rows), self.form, self.skip_corrupt)
        return range(len(pictures)), vary(pictures, ())


def _encode(cache, pictures, encode, part, flips):
    """Writes the shards of a cache that are not there yet."""
    cache.begin()
    missing = cache.missing(part)
    for done, (shard, rows) in enumerate(missing, 1):
        latents, std, records = encode_all(*pictures.read(rows), encode, flips)
        cache.write(shard, latents, std, records)
        told = (cache.path.name, done, len(missing), latents.shape, latents.mean(), latents.std())
        log.info("%s, shard %d of %d: latents %s, mean %.3f, std %.3f", *told)
    if not missing:
        log.info("%s: all latents are there", cache.path.name)


def encode_all(rows, variations_of, encode, flips=False):
    """Encodes images and their variations.

    Args:
        rows: numbers of the images.
        variations_of: function from a number to images and their records, see `vary`.
        encode: function from images to mean and standard deviation of their latents.
        flips: whether to encode the mirrored images, too.

    Returns:
        means and standard deviations (n, k, h, w, channels), where those of mirrored images come behind the others, and
        the records, n lists of dicts.
    """
    encoded, records, size = [], [], min(BATCH_SIZE, len(rows))
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            images, batch_records = zip(*pool.map(variations_of, batch), strict=True)
            images = np.pad(images, ((0, size - len(batch)),) + ((0, 0),) * 4)  # (size, k, height, width, 3)
            images = np.concatenate([images, images[:, :, :, ::-1]], axis=1) if flips else images
            parts = [map(keras.ops.convert_to_numpy, encode(images[:, k])) for k in range(images.shape[1])]
            encoded.append([np.stack(part, axis=1)[: len(batch)] for part in zip(*parts, strict=True)])
            records.extend(batch_records)
    return *(np.concatenate(part) for part in zip(*encoded, strict=True)), records


def _check_step(step, multiple):
    if step is not None and step % multiple:
        raise ValueError(f"`bucket_step` must be a multiple of {multiple}, pixels per latent. Received: {step=}")
