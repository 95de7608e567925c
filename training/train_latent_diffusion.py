"""Stage two: trains the U-Net on latents and captions, and writes a preset after each epoch.

python -m training.train_latent_diffusion --config emoji_128 --text-encoder MINILM --output runs/emoji
"""

import keras
import numpy as np

from latentdiff import LatentDiffusion, NoiseSchedule, TextToImage, UNet
from latentdiff.data.batches import Batches
from latentdiff.data.latent_cache import load_latents
from latentdiff.recipes.callbacks import Preview
from training.training_run import (
    callbacks,
    fitting_batch_size,
    length,
    load_text_encoder,
    num_devices,
    optimizer,
    parse,
)

args, config = parse(
    __doc__,
    text_encoder="folder or name of a KerasHub text preset; default: the text encoder of --init",
    init="optional preset whose U-Net and text encoder to start from",
)
if not (args.text_encoder or args.init):
    raise SystemExit("Pass --text-encoder, or --init with a preset.")
autoencoder = keras.saving.load_model(args.output / "autoencoder.keras", compile=False)
latents, records = load_latents(args.output, config.split or "train", autoencoder)

start = TextToImage.from_preset(args.init).model if args.init else None
text_encoder = load_text_encoder(args.text_encoder, config) if args.text_encoder else start.text_encoder
unet = UNet(latents.shape[2:], text_encoder.context_dim, text_encoder.sequence_length, **config.unet)
if start:
    unet.set_weights(start.unet.get_weights())
model = LatentDiffusion(
    autoencoder,
    text_encoder,
    unet,
    NoiseSchedule(**config.noise_schedule),
    prediction_type=config.prediction_type,
    context_dropout=config.context_dropout,
    min_snr_gamma=config.min_snr_gamma,
    seed=config.seed,
)
print(f"U-Net: {unet.count_params():,} parameters")


rng = np.random.default_rng(config.seed)
asked = [[config.captions(record, rng) for record in varied] for varied in records]  # (n, k, ways)
texts, places = np.unique(asked, return_inverse=True)
places = places.reshape(np.shape(asked))
token_ids = text_encoder.tokenize(texts)
latents = np.asarray(latents)


def draw(batch, rng):
    """A picture or one of its variations for each row, and one of the ways to ask for it."""
    rows, (_, variations, ways) = batch["rows"], places.shape
    variation = rng.integers(min(1, variations - 1), variations, size=len(rows))
    variation[rng.random(len(rows)) < config.plain_share] = 0
    place = places[rows, variation, rng.integers(ways, size=len(rows))]
    return {"latents": latents[rows, variation], "token_ids": token_ids[place]}


batches = Batches(
    {"rows": np.arange(len(latents))},
    fitting_batch_size(config.batch_size, len(latents)),
    seed=config.seed,
    passes=config.passes,
    transform=draw,
)
validation_data = None
if config.validation_split:
    held_out, held_out_records = load_latents(args.output, config.validation_split, autoencoder)
    captions = [record["caption"] for record, *_ in held_out_records]
    arrays = {"latents": np.asarray(held_out)[:, 0], "token_ids": text_encoder.tokenize(captions)}
    validation_data = Batches(
        arrays, fitting_batch_size(200, len(held_out)), shuffle=False, drop_remainder=num_devices() > 1
    )
epochs, clock = length(args, config.epochs)
print(f"{len(latents)} latents, {len(batches)} steps an epoch")

model.compile(
    optimizer(config.learning_rate, epochs * len(batches), config.ema), steps_per_execution=config.steps_per_execution
)
pipeline = TextToImage(model, **config.generate)
previews, prompts = [], config.preview_prompts
if prompts is None:
    prompts = [record["caption"] for record, *_ in records[:4]]
if prompts:
    previews.append(Preview(pipeline, prompts, args.output / "previews", every=epochs))


def save_preset():
    pipeline.save_to_preset(args.output / "preset", float16=True, max_shard_bytes=15_500_000)


model.fit(
    batches,
    validation_data=validation_data,
    epochs=epochs,
    shuffle=False,
    verbose=2,
    callbacks=callbacks(
        args.output / "latent_diffusion",
        batches,
        *clock,
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: save_preset()),  # in case it breaks off
        *previews,
    ),
)
save_preset()  # a run that is taken up again may have no epoch left
print(f"preset written to {args.output / 'preset'}")
