"""Smaller and faster LiteRT files: weights with 16 or 8 bits, by `litert-quantizer`."""

import contextlib
import dataclasses
import io
import logging
from unittest import mock

import numpy as np

from latentdiff.export.litert.embeddings import quantize_embeddings

BYTES = {"none": 4, "float16": 2, "dynamic_int8": 1}  # of a weight
QUANTIZATIONS = tuple(BYTES)
FLOAT16 = {"num_bits": 16, "algorithm_key": "float_casting"}
# Layers, by name, whose weights alone have 8 bits in "dynamic_int8": they compute with activations of 32 bits. Guidance
# exaggerates what 8 bits do to the features of the text, and the text is read but once an image.
WEIGHTS_ONLY = ".*text_encoder.*"
# How far a part may be from Keras, its root mean square error by the root mean square of the answer. Weights of 11
# significant bits and of 8 bits have errors of about 1e-4 and 1e-2 each; a part that was quantized wrongly is off by 1.
TOLERANCES = {"none": 1e-4, "float16": 5e-3, "dynamic_int8": 0.15}
LEVELS = 2  # of 255 that any value of an unquantized image may be off


def check_quantization(quantization, names):
    """What each part gets: a dict of all `names`.

    Args:
        quantization: one of QUANTIZATIONS for all parts, or a dict of names of parts, which may leave some out.

    Raises:
        ValueError: unknown quantization or part.
    """
    each = quantization if isinstance(quantization, dict) else dict.fromkeys(names, quantization)
    unknown = sorted(each.keys() - set(names))
    if unknown or not set(each.values()) <= set(QUANTIZATIONS):
        raise ValueError(
            f"`quantization` must be one of {QUANTIZATIONS}, or a dict of some of {tuple(names)} to them. "
            f"Received: quantization={quantization!r}"
        )
    return {name: each.get(name, "none") for name in names}


def quantize(content, quantization):
    """A LiteRT file with smaller weights.

    "float16" halves the file; the numbers are widened again when it is opened, and it is as fast as before.
    "dynamic_int8" has weights of 8 bits, one scale an output channel, and turns activations into 8 bits while it runs,
    except in the text encoder.

    Args:
        content: bytes.
        quantization: one of QUANTIZATIONS.

    Returns:
        bytes.
    """
    if quantization == "none":
        return content
    from litert_quantizer import quantizer, recipe_manager
    from litert_quantizer.qtyping import TFLOperationName

    content = quantize_embeddings(content, quantization)
    recipes = recipe_manager.RecipeManager()
    every = {"regex": ".*", "operation_name": TFLOperationName.ALL_SUPPORTED}
    if quantization == "float16":
        recipes.add_weight_only_config(**every, **FLOAT16)
    else:
        recipes.add_dynamic_config(**every, num_bits=8)
        recipes.add_weight_only_config(**{**every, "regex": WEIGHTS_ONLY}, num_bits=8)
    logging.getLogger("absl").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), _flat_filters():
        work = quantizer.Quantizer(memoryview(content), recipes.get_quantization_recipe())
        return bytes(work.quantize().quantized_model)


def _flat_filters():
    """A context in which litert-quantizer gets filters as matrices: 0.11 fails on others above 32 MiB."""
    from litert_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor

    real = uniform_quantize_tensor.uniform_quantize

    def uniform_quantize(values, params, is_blockwise_quant=False):
        if values.ndim != 4 or params.quantized_dimension != 0:
            return real(values, params, is_blockwise_quant)
        rows = {name: np.reshape(getattr(params, name), (-1, 1)) for name in ("scale", "zero_point")}
        flat = real(values.reshape(len(values), -1), dataclasses.replace(params, **rows), is_blockwise_quant)
        return flat.reshape(values.shape)

    return mock.patch.object(uniform_quantize_tensor, "uniform_quantize", uniform_quantize)
