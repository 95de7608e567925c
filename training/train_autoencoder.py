"""Stage one: trains the autoencoder on pictures, measures its latents and says how well it does.

python -m training.train_autoencoder --config emoji_128 --data DATA --metrics METRICS --output runs/emoji
"""

import numpy as np

from latentdiff import Autoencoder, TextToImage
from latentdiff.data.batches import Batches, load_pictures, random_flip
from latentdiff.data.images import image_grid, save_png
from latentdiff.evaluation import psnr
from latentdiff.models.losses import LPIPS
from latentdiff.models.pixels import to_uint8
from training.training_run import QUICK_LIMIT, callbacks, fitting_batch_size, length, optimizer, parse

args, config = parse(
    __doc__,
    required=["data"],
    data="pictures: a folder, parquet shards or tfds:NAME",
    metrics="optional folder with lpips_alexnet_f16.npz, for the perceptual loss",
    init="optional preset to start from",
)
limit = QUICK_LIMIT if args.quick else None
pictures = load_pictures(args.data, config.image_size, config.split, limit=limit)
held_out = pictures
if config.validation_split:
    held_out = load_pictures(args.data, config.image_size, config.validation_split, limit=limit)
batches = Batches(
    {"images": pictures.images},
    fitting_batch_size(config.autoencoder_batch_size, len(pictures)),
    seed=config.seed,
    passes=config.autoencoder_passes,
    transform=random_flip if config.flip else None,
    workers=2,
)
epochs, clock = length(args, config.autoencoder_epochs)
print(f"{len(pictures)} pictures, {len(batches)} steps an epoch")

autoencoder = Autoencoder(**config.autoencoder)
if args.init:
    autoencoder.set_weights(TextToImage.from_preset(args.init).model.autoencoder.get_weights())
autoencoder.compile(
    optimizer(config.autoencoder_learning_rate, epochs * len(batches), config.autoencoder_ema),
    perceptual_loss=LPIPS(f"{args.metrics}/lpips_alexnet_f16.npz") if args.metrics else None,
)
autoencoder.fit(
    batches,
    epochs=epochs,
    shuffle=False,
    verbose=2,
    callbacks=callbacks(args.output / "autoencoder", batches, *clock),
)
autoencoder.measure_latents(pictures.images)
autoencoder.save(args.output / "autoencoder.keras")

decoded = np.concatenate(
    [
        np.asarray(to_uint8(autoencoder.decode(autoencoder.encode(held_out.images[start : start + 50]))))
        for start in range(0, len(held_out), 50)
    ]
)
print(f"latent mean {np.asarray(autoencoder.latent_mean.value)}, std {np.asarray(autoencoder.latent_std.value)}")
kind = "held-out pictures" if config.validation_split else "of its own pictures"
print(f"median PSNR of {len(held_out)} {kind}: {np.median(psnr(held_out.images, decoded)):.2f} dB")
pairs = np.stack([held_out.images[:32], decoded[:32]], axis=1).reshape(-1, *decoded.shape[1:])
save_png(args.output / "autoencoder.png", image_grid(pairs, columns=8))
