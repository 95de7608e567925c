"""Between the stages: encodes the pictures once, so that stage two trains on latents alone.

python -m training.encode_latents --config emoji_128 --data DATA --output runs/emoji
"""

import json

import keras
import numpy as np

from latentdiff.compilation import compile_function
from training.data import load_pictures, with_mirrored
from training.latent_cache import cache_key
from training.training_run import QUICK_LIMIT, parse

BATCH_SIZE = 64

args, config = parse(__doc__, data="pictures: a folder, parquet shards or tfds:NAME")
keras.config.set_dtype_policy("float32")  # once for all epochs, so exactly
autoencoder = keras.saving.load_model(args.output / "autoencoder.keras", compile=False)
encode = compile_function(autoencoder.encode, autoencoder)
for split in filter(None, (config.split or "train", config.validation_split)):
    pictures = load_pictures(
        args.data, config.image_size, split if config.split else None, limit=QUICK_LIMIT if args.quick else None
    )
    if config.mirrored and split != config.validation_split:
        pictures = with_mirrored(pictures)
    padded = np.pad(pictures.images, ((0, -len(pictures) % BATCH_SIZE), (0, 0), (0, 0), (0, 0)))
    batches = np.split(padded, len(padded) // BATCH_SIZE)
    latents = np.concatenate([keras.ops.convert_to_numpy(encode(images)) for images in batches])[: len(pictures)]
    np.save(args.output / f"latents_{split}.npy", latents)
    rows = {"captions": pictures.captions, "records": pictures.records, "key": cache_key(autoencoder, latents)}
    (args.output / f"latents_{split}.json").write_text(json.dumps(rows, default=str))
    print(f"{split}: latents {latents.shape}, mean {latents.mean():.3f}, std {latents.std():.3f}")
