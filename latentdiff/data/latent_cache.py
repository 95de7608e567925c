"""Latents on disk, and the key that tells whether they still belong to the autoencoder that made them."""

import hashlib
import json
import re

import numpy as np

from latentdiff.whole_files import replaced, write_text


def cache_key(autoencoder, latents):
    """A checksum of what cached latents depend on: the weights of the encoder, the shape and dtype of the latents."""
    key = hashlib.sha256(f"{latents.shape[2:]} {latents.dtype}".encode())
    for variable in (*autoencoder.encoder.variables, autoencoder.latent_mean, autoencoder.latent_std):
        key.update(np.ascontiguousarray(np.asarray(variable.value)))
    return key.hexdigest()


def checksum(latents):
    """A checksum of latents, row by row, so that memory-mapped ones are never in memory as a whole."""
    value = hashlib.sha256()
    for row in latents:
        value.update(np.ascontiguousarray(row))
    return value.hexdigest()


def save_latents(folder, split, autoencoder, latents, records):
    """Writes the latents (n, k, h, w, channels) of a split or a bucket, and their records, n lists of k dicts."""
    rows = {"records": records, "key": cache_key(autoencoder, latents), "latents": checksum(latents)}
    with replaced(folder / f"latents_{split}.npy") as draft:
        np.save(draft, latents)
    write_text(folder / f"latents_{split}.json", json.dumps(rows, default=str))


def load_latents(folder, split, autoencoder):
    """Cached latents of a split, of each image and k - 1 variations of it.

    Returns:
        latents float32 (n, k, h, w, channels), memory-mapped, and records, n lists of k dicts, with their `caption`.

    Raises:
        ValueError: there are none, another autoencoder made them, or the two files don't belong together.
    """
    path = folder / f"latents_{split}.npy"
    if not path.is_file():
        raise ValueError(
            f"`folder` must hold {path.name}: run `latentdiff train latents` first, with the same --output. "
            f"Received: folder={str(folder)!r}"
        )
    latents = np.load(path, mmap_mode="r")
    rows = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    if rows["key"] != cache_key(autoencoder, latents):
        raise ValueError(f"{path} was made by another autoencoder: run `latentdiff train latents` again.")
    other = "latents" in rows and rows["latents"] != checksum(latents)  # files of earlier versions don't have it
    if other or len(rows["records"]) != len(latents):
        raise ValueError(
            f"{path} must belong to the records of {path.stem}.json: run `latentdiff train latents` again. "
            f"Received: {len(latents)} rows, {len(rows['records'])} records"
        )
    return latents, rows["records"]


# === Aspect-ratio buckets ===


def bucket_name(split, size):
    """The name under which the latents of the images of one size, (height, width) in pixels, are saved."""
    return f"{split}-{size[0]}x{size[1]}"


def bucket_names(folder, split):
    """The names of all buckets of a split whose latents are in a folder."""
    names = [path.stem.removeprefix("latents_") for path in sorted(folder.glob(f"latents_{split}-*x*.npy"))]
    return [name for name in names if re.fullmatch(rf"{re.escape(split)}-\d+x\d+", name)]


def load_buckets_of_latents(folder, split, autoencoder):
    """As `load_latents`, a list of (latents, records), one for each bucket.

    Raises:
        ValueError: as `load_latents`.
    """
    names = bucket_names(folder, split) or [bucket_name(split, ("*", "*"))]
    return [load_latents(folder, name, autoencoder) for name in names]


def remove_buckets(folder, split):
    """Removes the latents of all buckets of a split."""
    for name in bucket_names(folder, split):
        (folder / f"latents_{name}.npy").unlink()
        (folder / f"latents_{name}.json").unlink(missing_ok=True)
