"""Latents on disk, in shards, and the key that tells whether they still belong to the autoencoder that made them.

A cache is a folder `latents_SPLIT` with a folder for each shard, which appears at once when it is whole:

    cache.json            what the latents depend on, and how many shards there are
    00000/latents.npy     float32 (n, k, h, w, channels), normalized means of the posterior of n images
    00000/std.npy         float16, its standard deviations
    00000/records.jsonl   a line for each image: a list of k dicts, with their `caption`
    00000/ends.npy        int64 (n,), where the lines end

`k` counts the image and its variations; with mirrored images there are twice as many latents as records.
"""

import hashlib
import json
import re

import numpy as np

from latentdiff.data.shard_cache import ABOUT, ShardCache, read_about, shards_of
from latentdiff.data.sharded import ShardedArray, ShardedRecords
from latentdiff.whole_files import remove_whole

AGAIN = "run `latentdiff train latents` again"


def cache_key(autoencoder, image_size, dtype="float32"):
    """What cached latents depend on, such as "3f9c12ab04d1-float32-128x128": a checksum of the weights of the encoder
    and of the statistics, the dtype of the latents, and the height and width of the images."""
    value = hashlib.sha256()
    for variable in (*autoencoder.encoder.variables, autoencoder.latent_mean, autoencoder.latent_std):
        value.update(np.ascontiguousarray(np.asarray(variable.value)))
    return f"{value.hexdigest()[:12]}-{dtype}-{image_size[0]}x{image_size[1]}"


class LatentCache(ShardCache):
    """Writes the latents of a split or a bucket, shard by shard.

    Args:
        folder: Path of the run.
        name: of the split or bucket.
        num_images: int, whose latents it will hold.
        about: dict that JSON can hold: `key`, see `cache_key`, and all else that the latents depend on.
    """

    def __init__(self, folder, name, num_images, about):
        super().__init__(folder / f"latents_{name}", num_images, about)

    def write(self, shard, latents, std, records):
        """Writes a shard.

        Args:
            shard: its number.
            latents: float32 (n, k, h, w, channels).
            std: as `latents`, or None.
            records: n lists of dicts.
        """
        lines = [json.dumps(varied, default=str).encode() + b"\n" for varied in records]
        with self.writing(shard) as draft:
            np.save(draft / "latents.npy", latents)
            if std is not None:
                np.save(draft / "std.npy", std.astype("float16"))
            np.save(draft / "ends.npy", np.cumsum([len(line) for line in lines], dtype="int64"))
            (draft / "records.jsonl").write_bytes(b"".join(lines))


def save_latents(folder, name, autoencoder, image_size, latents, records, std=None):
    """Writes all latents of a split or a bucket, (n, k, h, w, channels), and their records, n lists of k dicts."""
    cache = LatentCache(folder, name, len(latents), {"key": cache_key(autoencoder, image_size)})
    if cache.path.exists():
        remove_whole(cache.path)
    cache.begin()
    for shard, rows in cache.missing():
        part = slice(rows.start, rows.stop)
        cache.write(shard, latents[part], None if std is None else std[part], records[part])


def has_latents(folder, name):
    """Whether latents of a split or a bucket are there, whole or not."""
    return (folder / f"latents_{name}" / ABOUT).is_file()


def load_latents(folder, name, autoencoder, image_size=None):
    """Cached latents of a split, of each image and its variations.

    Args:
        folder, name: see `LatentCache`.
        autoencoder: the one that made them.
        image_size: optional (height, width) of the images that they must be of.

    Returns:
        latents float32 (n, k, h, w, channels), memory-mapped, a `ShardedArray` with `deviations`, float16 like the
        latents, if they were kept; and records, n lists of dicts, with their `caption`.

    Raises:
        ValueError: there are none, another autoencoder made them, or shards are missing or damaged.
    """
    path = folder / f"latents_{name}"
    if (folder / f"{path.name}.npy").is_file() and not path.exists():
        raise ValueError(f"{path}.npy is of an earlier version: {AGAIN}, with the same --output.")
    if not has_latents(folder, name):
        raise ValueError(
            f"`folder` must hold {path.name}: run `latentdiff train latents` first, with the same --output. "
            f"Received: folder={str(folder)!r}"
        )
    about = read_about(path)
    if about is None:
        raise ValueError(f"{path / ABOUT} is damaged: remove it, and {AGAIN}.")
    _check_key(path, about["key"], autoencoder, image_size)
    shards, missing = shards_of(path, about)
    if missing:
        raise ValueError(
            f"{path} must have all {len(shards)} shards: {AGAIN}, with each --shard. "
            f"Received: {len(missing)} missing, such as {', '.join(missing[:5])}"
        )
    try:
        return _open_shards(shards)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is damaged: remove it, and {AGAIN}. Received: {error}") from error


def _open_shards(shards):
    latents, records = ShardedArray([shard / "latents.npy" for shard in shards]), ShardedRecords(shards)
    if (shards[0] / "std.npy").is_file():
        latents.deviations = ShardedArray([shard / "std.npy" for shard in shards])
    if len(latents) != len(records):
        raise ValueError(f"{len(latents)} rows, {len(records)} records")
    return latents, records


def _check_key(path, key, autoencoder, image_size):
    weights, dtype, size = key.rsplit("-", 2)
    expected = cache_key(autoencoder, image_size or size.split("x"), dtype)
    if key != expected:
        other = "of other images" if expected.startswith(weights) else "made by another autoencoder"
        raise ValueError(f"{path} is {other}: {AGAIN}. Received: key {key}, expected {expected}")


# === Aspect-ratio buckets ===


def bucket_name(split, size):
    """The name under which the latents of the images of one size, (height, width) in pixels, are saved."""
    return f"{split}-{size[0]}x{size[1]}"


def bucket_names(folder, split):
    """The names of all buckets of a split whose latents are in a folder."""
    names = [path.name.removeprefix("latents_") for path in sorted(folder.glob(f"latents_{split}-*x*"))]
    return [name for name in names if re.fullmatch(rf"{re.escape(split)}-\d+x\d+", name)]


def load_buckets_of_latents(folder, split, autoencoder):
    """As `load_latents`, a list of (latents, records), one for each bucket.

    Raises:
        ValueError: as `load_latents`.
    """
    names = bucket_names(folder, split) or [bucket_name(split, ("*", "*"))]
    return [load_latents(folder, name, autoencoder) for name in names]


def remove_buckets(folder, split, kept=()):
    """Removes the latents of the buckets of a split whose names are not `kept`."""
    for name in set(bucket_names(folder, split)) - set(kept):
        remove_whole(folder / f"latents_{name}")
