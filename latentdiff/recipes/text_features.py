"""Text features of captions on disk, so that a frozen text encoder encodes each caption once."""

import hashlib
import json
import logging

import keras
import numpy as np

from latentdiff.data.shard_cache import ShardCache, shards_of
from latentdiff.data.sharded import ShardedArray
from latentdiff.models.compilation import compile_function

FOLDER, BATCH_SIZE = "text_features", 64
log = logging.getLogger(__name__)


def cached_features(folder, text_encoder, texts):
    """Features of texts, encoded where they are not on the disk yet; it goes on where it was killed.

    Args:
        folder: Path of the run. Its `text_features-KEY` gets the shards, by the key of the text encoder and the texts.
        text_encoder: `TextEncoder`, frozen.
        texts: list of n strings.

    Returns:
        dict of the members of the conditioning by name, `ShardedArray`s (n, ...), memory-mapped, float32 or bool.

    Raises:
        ValueError: a text encoder that is trained, or has words that are.
    """
    if text_encoder.trainable_variables:
        raise ValueError("`cache_text` needs a text encoder that is not trained. Received: one with trainable weights")
    key = features_key(text_encoder, texts)
    cache = ShardCache(folder / f"{FOLDER}-{key}", len(texts), {"key": key})
    cache.begin()
    condition = compile_function(text_encoder.condition, text_encoder)
    for shard, rows in cache.missing():
        members = _encode(text_encoder, condition, texts[rows.start : rows.stop])
        with cache.writing(shard) as draft:
            for name, values in members.items():
                np.save(draft / f"{name}.npy", values)
        log.info("text features: %d of %d captions", rows.stop, len(texts))
    shards, _ = shards_of(cache.path, cache.about)
    names = sorted(path.stem for path in shards[0].glob("*.npy"))
    return {name: ShardedArray([shard / f"{name}.npy" for shard in shards]) for name in names}


def features_key(text_encoder, texts):
    """A checksum of the texts, and of the weights and settings of a text encoder."""
    settings = ("num_tokens", "separator_id", "mask_padding", "clip_skip", "zero_empty")
    value = hashlib.sha256(json.dumps([texts, [getattr(text_encoder, name) for name in settings]]).encode())
    value.update(np.ascontiguousarray(text_encoder.tokenize(texts[:1])))
    for variable in text_encoder.variables:
        value.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable.value)))
    return value.hexdigest()[:12]


def _encode(text_encoder, condition, texts):
    """The members of the conditioning of texts, in batches of one size, so that one function is compiled."""
    token_ids = text_encoder.tokenize(texts)
    padded = np.pad(token_ids, ((0, -len(texts) % BATCH_SIZE), (0, 0)), mode="edge")
    batches = [condition(padded[start : start + BATCH_SIZE]) for start in range(0, len(padded), BATCH_SIZE)]
    names = batches[0]
    parts = {name: [keras.ops.convert_to_numpy(batch[name]) for batch in batches] for name in names}
    return {name: np.concatenate(values)[: len(texts)] for name, values in parts.items()}
