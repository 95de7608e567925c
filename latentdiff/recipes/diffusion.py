"""Stage two: trains the U-Net on latents and captions, and writes a preset after each epoch."""

import functools
import logging

import keras
import numpy as np

from latentdiff.data.batches import Batches
from latentdiff.data.buckets import BucketBatches
from latentdiff.data.images import both_sides
from latentdiff.data.latent_cache import load_buckets_of_latents, load_latents
from latentdiff.data.mapped import mapped
from latentdiff.diffusion.noise_schedule import NoiseSchedule
from latentdiff.models.latent_diffusion import LatentDiffusion
from latentdiff.models.memory import save_memory
from latentdiff.models.networks import check_sides, make_network
from latentdiff.pipelines.text_to_image import TextToImage
from latentdiff.recipes.autoencoder import copy_weights
from latentdiff.recipes.averages import FOLDER, KeepAverages
from latentdiff.recipes.callbacks import Preview
from latentdiff.recipes.devices import fitting_batch_size, host_share, num_devices
from latentdiff.recipes.nearest import save_nearest
from latentdiff.recipes.prior import with_prior
from latentdiff.recipes.run import NEAREST, PREVIEWS, SHARD_BYTES, fit, optimizer
from latentdiff.recipes.start import freeze_words
from latentdiff.recipes.text_encoder import load_text_encoder
from latentdiff.recipes.text_features import cached_features
from latentdiff.settings.prompt_syntax import escape

VALIDATION_BATCH_SIZE = 200
log = logging.getLogger(__name__)


def train_diffusion(run, text_encoder=None, init=None):
    """Trains the U-Net and writes the folder `preset`, and previews.

    Args:
        run: `Run` whose folder holds `autoencoder.keras` and the latents.
        text_encoder: folder or name of a KerasHub text preset; default: the text encoder of `init`.
        init: optional preset whose U-Net training starts from.

    Returns:
        `TextToImage` around the trained model.

    Raises:
        ValueError: neither `text_encoder` nor `init`, or a missing earlier stage.
    """
    if text_encoder is None and init is None:
        raise ValueError("`text_encoder` or `init` must be given. Received: text_encoder=None, init=None")
    with run.started():
        if run.is_finished("latent_diffusion", run.output / "preset"):
            return TextToImage.from_preset(run.output / "preset")
        autoencoder = run.load_autoencoder()
        parts = load_parts(run, autoencoder)
        model = _build(run.experiment, autoencoder, _latent_shape(parts), text_encoder, init)
        log.info("network: %s parameters", f"{model.network.count_params():,}")
        size = {} if run.experiment.bucket_step is None else {"image_size": run.experiment.image_size}
        pipeline = TextToImage(model, **{**size, **run.experiment.generate})
        fit_network(pipeline, parts, run, "latent_diffusion", lambda: _save(pipeline, run))
        _save(pipeline, run)  # a run that is resumed may have no epoch left
        run.finish("latent_diffusion")
    log.info("preset written to %s", run.output / "preset")
    return pipeline


def _build(experiment, autoencoder, latent_shape, text_encoder, init):
    start = TextToImage.from_preset(init).model if init else None
    encoder = load_text_encoder(text_encoder, experiment) if text_encoder else start.text_encoder
    freeze_words(encoder)
    network = make_network(experiment.network, latent_shape, encoder.context_dim, encoder.sequence_length)
    if start:
        copy_weights(start.network, network, "network")
    return LatentDiffusion(
        autoencoder,
        encoder,
        network,
        NoiseSchedule(**experiment.noise_schedule),
        prediction_type=experiment.prediction_type,
        context_dropout=experiment.context_dropout,
        min_snr_gamma=experiment.min_snr_gamma,
        seed=experiment.seed,
    )


def load_parts(run, autoencoder):
    """The latents to train on: a list of (latents (n, k, h, w, channels), records), one for each bucket.

    Raises:
        ValueError: there are none, or another autoencoder made them.
    """
    experiment = run.experiment
    if experiment.bucket_step is not None:
        return load_buckets_of_latents(run.output, run.train_split, autoencoder)
    return [load_latents(run.output, run.train_split, autoencoder, both_sides(experiment.image_size))]


def _latent_shape(parts):
    """(height, width, channels) of the latents; None for sides that vary."""
    shapes = {latents.shape[2:] for latents, _ in parts}
    return shapes.pop() if len(shapes) == 1 else (None, None, shapes.pop()[-1])


def fit_network(pipeline, parts, run, stage, save):
    """Trains what is trainable in the model of a pipeline on latents and captions, with backups and previews.

    Args:
        pipeline: `TextToImage`.
        parts: list of (latents, records), see `load_parts`.
        run: `Run`.
        stage: name of the stage.
        save: function without arguments that writes the outcome, called after each epoch.
    """
    experiment, model = run.experiment, pipeline.model
    check_sides(model.network, [latents.shape[2:4] for latents, _ in parts])
    batches = _batches(pipeline, parts, run)
    save_memory(model.network, experiment.gradient_checkpointing, experiment.query_chunk_size)
    epochs, clock = run.length(experiment.epochs)
    log.info("%d latents, %d steps an epoch", sum(len(latents) for latents, _ in parts), len(batches))
    model.compile(
        optimizer(
            experiment.learning_rate,
            epochs * len(batches),
            _momentum(experiment),
            schedule=experiment.schedule,
            accumulated=experiment.accumulated_batches,
            average_lengths=experiment.average_lengths,
        ),
        steps_per_execution=experiment.steps_per_execution,
    )
    write = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: save())
    kept = [KeepAverages(run.output / FOLDER)] if experiment.average_lengths else []
    previews = _previews(pipeline, parts[0][1], run, epochs)
    validation_data = _validation_data(run, model)
    fit(model, batches, run, stage, epochs, [*clock, write, *kept, *previews], validation_data=validation_data)
    _show_nearest(pipeline, parts, run, previews)


def _momentum(experiment):
    """That of the moving average, for each update."""
    if experiment.ema_half_life is None:
        return experiment.ema
    return 0.5 ** (experiment.batch_size * experiment.accumulated_batches / experiment.ema_half_life)


def _batches(pipeline, parts, run):
    """`Batches` of rows of the only part, or `BucketBatches` of all parts."""
    experiment, made = run.experiment, []
    if experiment.prior and len(parts) > 1:
        raise ValueError("`prior` must be empty where `bucket_step` makes several buckets. Received: both")
    if experiment.prior and experiment.cache_text:
        raise ValueError("`prior` must be empty where `cache_text` is set. Received: both")
    for latents, records in parts:
        draw = drawing(latents, records, pipeline.model.text_encoder, experiment, run.output)
        batches = Batches(
            {"rows": np.arange(len(latents))},
            fitting_batch_size(experiment.batch_size, len(latents)),
            seed=experiment.seed,
            passes=experiment.passes,
            share=host_share(),
            name=functools.partial(_name, records),
            transform=with_prior(draw, pipeline, run) if experiment.prior else draw,
        )
        made.append(batches)
    return made[0] if len(made) == 1 else BucketBatches(made, experiment.seed)


def _name(records, row):
    record = records[row][0]
    return str(record.get("id", record["caption"]))


def drawing(latents, records, text_encoder, experiment, folder=None):
    """A `transform` of `Batches`: for each row an image or one of its variations, and one of its captions.

    Args:
        latents: float32 (n, k, h, w, channels), those of mirrored images behind the others; with `deviations` where
            the experiment asks for samples.
        records: n lists of dicts.
        text_encoder: `TextEncoder`.
        experiment: `Experiment`.
        folder: Path that gets the features of the captions, where the experiment asks for them (`cache_text`).
    """
    rng = np.random.default_rng(experiment.seed)
    captions, texts = (experiment.captions(record, rng) for varied in records for record in varied), {}
    places = np.fromiter((texts.setdefault(text, len(texts)) for ways in captions for text in ways), "int32")
    places = mapped(places.reshape(len(records), len(records[0]), -1), "int32")  # (n, k, ways)
    text = _text(text_encoder, list(texts), experiment, folder)
    _check_cache(latents, places.shape[1], experiment)

    def draw(batch, rng):
        rows, (_, variations, ways) = batch["rows"], places.shape
        variation = rng.integers(min(1, variations - 1), variations, size=len(rows))
        variation[rng.random(len(rows)) < experiment.plain_share] = 0
        place = places[rows, variation, rng.integers(ways, size=len(rows))]
        if experiment.flip_latents:
            variation = variation + variations * rng.integers(2, size=len(rows))
        values = latents[rows, variation]
        if experiment.sample_latents:
            values = values + latents.deviations[rows, variation] * rng.standard_normal(values.shape, "float32")
        return {"latents": values, **{name: member[place] for name, member in text.items()}}

    return draw


def _text(text_encoder, texts, experiment, folder):
    """What a batch tells of its captions: a dict of arrays with a row for each text."""
    if experiment.cache_text:
        return cached_features(folder, text_encoder, texts)
    return {"token_ids": mapped(_tokenize(text_encoder, texts), "int32")}


def _tokenize(text_encoder, texts, at_once=4096):
    """Token ids of many texts, int32 (n, tokens)."""
    parts = [texts[start : start + at_once] for start in range(0, len(texts), at_once)]
    return np.concatenate([text_encoder.tokenize(part) for part in parts])


def _check_cache(latents, variations, experiment):
    """Raises ValueError unless the cache has what the experiment asks for."""
    again = "run `latentdiff train latents` again, with the same --experiment"
    if latents.shape[1] != variations * (1 + experiment.flip_latents):
        raise ValueError(f"`flip_latents` must be that of the cache: {again}. Received: {experiment.flip_latents}")
    if experiment.sample_latents and getattr(latents, "deviations", None) is None:
        raise ValueError(f"`sample_latents` needs a cache with deviations: {again}. Received: a cache without")


def _validation_data(run, model):
    split = run.experiment.validation_split
    if not split:
        return None
    latents, records = load_latents(run.output, split, model.autoencoder)
    token_ids = _tokenize(model.text_encoder, [record["caption"] for record, *_ in records])

    def read(batch, rng):
        return {"latents": latents[batch["rows"], 0], "token_ids": token_ids[batch["rows"]]}

    batch_size, arrays = fitting_batch_size(VALIDATION_BATCH_SIZE, len(latents)), {"rows": np.arange(len(latents))}
    return Batches(arrays, batch_size, shuffle=False, drop_remainder=num_devices() > 1, transform=read)


def _previews(pipeline, records, run, epochs):
    """The callback that draws the previews, in a list; an empty list where there are none."""
    prompts = run.experiment.preview_prompts
    if prompts is None:
        prompts = [escape(record["caption"]) for record, *_ in records[:4]]  # captions are literal text
    return [Preview(pipeline, prompts, run.output / PREVIEWS, every=epochs)] if prompts else []


def _show_nearest(pipeline, parts, run, previews):
    """Writes `nearest.png`: the last previews, and the training images of their size that are most like them."""
    alike = [latents for latents, _ in parts if tuple(latents.shape[2:]) == tuple(pipeline.latent_shape)]
    for images in (preview.images for preview in previews if alike and preview.images is not None):
        save_nearest(run.output / NEAREST, pipeline.model, images, alike[0])


def _save(pipeline, run):
    pipeline.save_to_preset(run.output / "preset", float16=True, max_shard_bytes=SHARD_BYTES)
