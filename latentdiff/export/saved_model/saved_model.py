"""A `TextToImage` as a SavedModel for TF Serving, or for any other TensorFlow runtime: no Python where it runs."""

import contextlib
import json
import re
from pathlib import Path

from latentdiff.diffusion import samplers
from latentdiff.export.saved_model.check import check_pictures, check_structure
from latentdiff.export.saved_model.serving_files import BATCH_SIZES, model_name, write_serving_files
from latentdiff.export.saved_model.signatures import Signatures
from latentdiff.export.saved_model.stored_weights import StoredWeights
from latentdiff.export.saved_model.warmup import WARMUP_FILE, write_warmup
from latentdiff.version import __version__
from latentdiff.whole_files import draft_of

EXTRA = "assets.extra"


def export_saved_model(text_to_image, folder, dtype="float32", token_ids=False, sampler=None, max_steps=100):
    """Writes a SavedModel, whole or not at all, checks it, and puts what a server needs into BASE/serving.

    Args:
        text_to_image: the `TextToImage`.
        folder: BASE/VERSION; TF Serving serves the largest VERSION, a whole number, that it finds in BASE, and the
            model is called as BASE is.
        dtype: how weights are stored: "float32", or "float16" or "bfloat16" for half the size.
        token_ids: take token ids in place of prompts. Prompts need TF Text's operators, which TF Serving has; token
            ids need TensorFlow's own only.
        sampler: name or `Sampler`; default: that of `text_to_image`.
        max_steps: most steps that a request gets; more are bounded, with a warning.

    Returns:
        The folder, a Path.

    Raises:
        ValueError: a folder that is there already or that is not named by a version, `max_steps` out of range, another
            Keras backend than TensorFlow, or a written model that does not give Keras' images.
    """
    folder = _checked(folder, text_to_image, max_steps)
    sampler = samplers.get(text_to_image.sampler if sampler is None else sampler)
    weights = StoredWeights(text_to_image.model, dtype)
    signatures = Signatures(text_to_image, weights, sampler, max_steps, token_ids)
    with draft_of(folder) as draft:
        with _file_errors():
            _write(signatures, draft, model_name(folder))
        check_structure(draft, token_ids)
        check_pictures(draft, signatures)
        write_serving_files(folder)  # a server takes up the version as soon as the draft gets its name
    return folder


def _checked(folder, text_to_image, max_steps):
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"A SavedModel is written with KERAS_BACKEND=tensorflow. Received: {keras.backend.backend()!r}"
        )
    folder = Path(folder).absolute()
    if not folder.name.isdecimal():
        raise ValueError(f"`folder` must be BASE/VERSION with a whole number as VERSION. Received: folder={folder}")
    model_name(folder)
    if folder.exists():
        raise ValueError(f"`folder` is there already, and a served version never changes. Received: folder={folder}")
    total = text_to_image.model.noise_schedule.num_train_timesteps
    if not text_to_image.num_steps <= max_steps <= total:
        raise ValueError(f"`max_steps` must lie in [{text_to_image.num_steps}, {total}]. Received: {max_steps=}")
    return folder


@contextlib.contextmanager
def _file_errors():
    """Raises an OSError of one line where TensorFlow can't write a file, for instance on a full disk."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        told = re.sub(r"\{\{.*?\}\}|\[Op:.*?\]", "", error.message)  # names of operations
        raise OSError(" ".join(told.split())) from error


def _write(signatures, folder, name):
    import tensorflow as tf

    module = tf.Module()
    module.weights = signatures.weights.variables
    module.resources = signatures.texts.resources
    tf.saved_model.save(module, str(folder), signatures=signatures.functions())
    extra = folder / EXTRA
    (extra / "tokenizer").mkdir(parents=True)
    signatures.model.text_encoder.tokenizer.save_assets(str(extra / "tokenizer"))
    (extra / "latentdiff.json").write_text(json.dumps(_card(signatures), indent=2) + "\n", encoding="utf-8")
    write_warmup(extra / WARMUP_FILE, name, _warmup_requests(signatures))


def _warmup_requests(signatures):
    """One short run of each signature that makes images, for each size of a batch."""
    for count in BATCH_SIZES:
        for name in ("serving_default", "png"):
            yield name, signatures.example(count, num_steps=1)


def _card(signatures):
    """What a client may want to know."""
    text_encoder = signatures.model.text_encoder
    return {
        "latentdiff_version": __version__,
        "inputs": signatures.texts.name,
        "image_size": signatures.text_to_image.image_size,
        "sampler": type(signatures.sampler).__name__,
        "num_steps": signatures.text_to_image.num_steps,
        "max_steps": signatures.max_steps,
        "guidance_scale": signatures.text_to_image.guidance_scale,
        "weights": signatures.weights.variables[0].dtype.name,
        "sequence_length": text_encoder.sequence_length,
        "max_chunks": text_encoder.max_chunks,
        "start_id": text_encoder.start_id,
        "end_id": text_encoder.end_id,
        "pad_id": text_encoder.pad_id,
    }
