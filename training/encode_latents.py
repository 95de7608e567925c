"""Between the stages: encodes the pictures and their variations once, so that stage two trains on latents alone.

python -m training.encode_latents --config emoji_128 --data DATA --output runs/emoji
"""

import json
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from latentdiff.data.batches import load_pictures
from latentdiff.data.latent_cache import cache_key
from latentdiff.data.variations import vary
from latentdiff.models.compilation import compile_function
from training.training_run import QUICK_LIMIT, parse

BATCH_SIZE = 64

args, config = parse(__doc__, required=["data"], data="pictures: a folder, parquet shards or tfds:NAME")
keras.config.set_dtype_policy("float32")  # once for all epochs, so exactly
autoencoder = keras.saving.load_model(args.output / "autoencoder.keras", compile=False)
encode = compile_function(autoencoder.encode, autoencoder)


def encode_all(pictures, variations):
    """Latents (n, 1 + variations, h, w, channels), and the records of each picture and its variations."""
    variations_of = vary(pictures, variations, config.seed, config.kept_out)
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


for split in filter(None, (config.split or "train", config.validation_split)):
    limit = QUICK_LIMIT if args.quick else None
    kept = split if split in (config.split, config.validation_split) else None  # without a split all pictures train
    pictures = load_pictures(args.data, config.image_size, kept, limit=limit)
    latents, records = encode_all(pictures, () if split == config.validation_split else config.variations)
    np.save(args.output / f"latents_{split}.npy", latents)
    rows = {"records": records, "key": cache_key(autoencoder, latents)}
    (args.output / f"latents_{split}.json").write_text(json.dumps(rows, default=str))
    print(f"{split}: latents {latents.shape}, mean {latents.mean():.3f}, std {latents.std():.3f}")
