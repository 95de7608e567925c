"""A `TextToImage` as LiteRT files for phones, small computers and browsers: no TensorFlow, no Keras where it runs."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np

from latentdiff.export import litert_file
from latentdiff.export.draft import draft_of
from latentdiff.export.litert_manifest import FORMAT, MANIFEST_FILE, manifest, sampler_record
from latentdiff.export.litert_parts import parts
from latentdiff.export.litert_quantization import TOLERANCES, check_quantization, quantize
from latentdiff.export.tokenizer_json import tokenizer_json
from latentdiff.export.web_page import add_web_page

PACKAGE = Path(__file__).parents[1]
ROWS = 2  # guidance asks the denoiser for two predictions a step


def export_litert(
    text_to_image, folder, quantization="none", num_tokens=None, single_file=False, web=False, node_modules=None
):
    """Writes a folder of LiteRT files, whole or not at all, and checks them against Keras.

    The files: text_encoder.tflite, denoiser.tflite, decoder.tflite, encoder.tflite (for image to image),
    tokenizer.json, manifest.json, which has all that a program needs to make pictures with them, and generate.py, which
    is such a program and imports nothing of this package.

    Args:
        text_to_image: the `TextToImage`. Its sampler must be "ddim" or "dpmpp_2m".
        folder: where to write. An earlier export in it is replaced, anything else is not.
        quantization: "none", "float16" or "dynamic_int8" for all files, or a dict of the names of parts
            ("text_encoder", "denoiser", "decoder", "encoder", "pipeline") to these. See `litert_quantization`.
        num_tokens: longest prompt in tokens, marks included; default: that of the text encoder. Shorter is faster.
        single_file: also write pipeline.tflite: token ids and settings in, picture out.
        web: also write a page for the browser, see `web_page.add_web_page`.
        node_modules: folder of its libraries; default: npm fetches them.

    Returns:
        The folder, a Path.

    Raises:
        ValueError: settings out of range, a folder with other things in it, another Keras backend than TensorFlow, an
            operator that some LiteRT runtime lacks (names it), or a file that does not answer as Keras does.
    """
    folder = _checked_folder(folder)
    num_tokens = _checked_tokens(text_to_image.model.text_encoder, num_tokens)
    sampler_record(text_to_image.sampler)
    tokens = tokenizer_json(text_to_image.model.text_encoder.tokenizer)
    made = parts(text_to_image, num_tokens, ROWS, single_file)
    quantization = check_quantization(quantization, made)
    files = {f"{name}.tflite": _file(name, part, quantization[name]) for name, part in made.items()}
    files["tokenizer.json"] = _json(tokens, indent=None)
    files[MANIFEST_FILE] = _json(manifest(text_to_image, made, files, quantization))
    with draft_of(folder, replace=True) as draft:
        for name, content in files.items():
            (draft / name).write_bytes(content)
        shutil.copyfile(PACKAGE / "edge.py", draft / "generate.py")
        shutil.copyfile(PACKAGE / "export" / "edge_readme.md", draft / "README.md")
        if web:
            add_web_page(draft, node_modules)
    return folder


def _checked_folder(folder):
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"LiteRT files are written with KERAS_BACKEND=tensorflow. Received: {keras.backend.backend()!r}"
        )
    folder = Path(folder).absolute()
    if folder.exists() and not (folder.is_dir() and (is_export(folder) or not any(folder.iterdir()))):
        raise ValueError(f"`folder` has other things in it, which would be lost. Received: folder={folder}")
    return folder


def is_export(folder):
    """Whether a folder is an earlier export."""
    try:
        return json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _checked_tokens(text_encoder, num_tokens):
    num_tokens = text_encoder.sequence_length if num_tokens is None else num_tokens
    if not 3 <= num_tokens <= text_encoder.sequence_length:
        raise ValueError(
            f"`num_tokens` must lie in [3, {text_encoder.sequence_length}]. Received: num_tokens={num_tokens}"
        )
    return num_tokens


def _file(name, part, quantization):
    """The checked LiteRT file of a part, as bytes."""
    try:
        content = quantize(litert_file.convert(part.function, part.model, part.inputs), quantization)
        litert_file.check(content)
    except ValueError as error:
        raise ValueError(f"{name}.tflite can't be made: {error}") from error
    inputs = _example(part.inputs)
    answers, expected = litert_file.run(content, inputs), part.function(**inputs)
    for key, value in expected.items():
        error = relative_error(answers[key], keras.ops.convert_to_numpy(value))
        if not error < TOLERANCES[quantization]:
            raise ValueError(
                f"{name}.tflite does not answer as Keras does: `{key}` is off by {error:.2g} of its size, "
                f"{TOLERANCES[quantization]:.2g} is allowed for quantization {quantization!r}."
            )
    return content


def _example(inputs):
    """Plausible values for the inputs of a part: words that differ, the middle of time, all tokens seen."""
    rng = np.random.default_rng(0)
    fixed = {"context_mask": 1.0, "timesteps": 500.0, "guidance_scale": 2.0, "num_steps": 2, "seed": 7}
    values = {}
    for name, spec in inputs.items():
        drawn = rng.integers(1, 30, spec.shape) if spec.dtype == "int32" else rng.standard_normal(spec.shape)
        values[name] = np.asarray(np.full(spec.shape, fixed[name]) if name in fixed else drawn, spec.dtype)
    return values


def relative_error(received, expected):
    """Root mean square of the difference, by that of what is expected."""
    received, expected = np.asarray(received, "float64"), np.asarray(expected, "float64")
    return np.sqrt(np.mean((received - expected) ** 2) / max(np.mean(expected**2), 1e-12))


def _json(value, indent=1):
    return (json.dumps(value, indent=indent, ensure_ascii=False) + "\n").encode()
