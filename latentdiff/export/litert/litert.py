"""A `TextToImage` as LiteRT files for phones, small computers and browsers: no TensorFlow, no Keras where it runs."""

import json
import math
import shutil
from pathlib import Path

import keras
import numpy as np

from latentdiff.diffusion import conditioning
from latentdiff.export.litert import file as litert_file
from latentdiff.export.litert.half_precision import bound_masks, check_range
from latentdiff.export.litert.manifest import FORMAT, MANIFEST_FILE, manifest
from latentdiff.export.litert.needs import check_needs
from latentdiff.export.litert.parts import PARTS, parts
from latentdiff.export.litert.quantization import BYTES, LEVELS, TOLERANCES, check_quantization, quantize
from latentdiff.export.litert.steps import PRESET, exported_samplers, step_parts
from latentdiff.export.litert.tokenizer_json import tokenizer_json
from latentdiff.export.web.page import PAGE_FILES, VENDORED, add_web_page
from latentdiff.settings.table import SAMPLERS
from latentdiff.whole_files import draft_of

PACKAGE = Path(__file__).parents[2]
ROWS = 2  # guidance asks the denoiser for two predictions a step
EXAMPLES = ("a red apple", "")  # what the files are tried with: prompts of different lengths
OWN_FILES = {
    *(f"{part}.tflite" for part in PARTS),
    *(f"{function}_{name}.tflite" for function in ("start", "advance") for name in (*SAMPLERS, PRESET)),
    *("tokenizer.json", MANIFEST_FILE, "generate.py", "README.md", *PAGE_FILES),
    *(f"vendor/{name}" for name in VENDORED.values()),
}


def export_litert(
    text_to_image,
    folder,
    quantization="none",
    num_tokens=None,
    single_file=False,
    web=False,
    node_modules=None,
    samplers=None,
):
    """Writes a folder of LiteRT files, whole or not at all, and checks them against Keras.

    The files: text_encoder.tflite, denoiser.tflite, decoder.tflite, encoder.tflite (for image to image), for each
    sampler a small start_NAME.tflite and advance_NAME.tflite with all that runs between two calls of the denoiser,
    tokenizer.json, manifest.json, which has all that a program needs to make images with them, and generate.py, which
    is such a program and imports nothing of this package.

    Args:
        text_to_image: the `TextToImage`. Its sampler must ask the network once a step: Heun does not.
        folder: where to write. An earlier export in it is replaced, if nothing else is there.
        quantization: "none", "float16" or "dynamic_int8" for all files, or a dict of the names of parts
            ("text_encoder", "denoiser", "decoder", "encoder", "pipeline") to these. See `litert_quantization`.
        num_tokens: longest prompt in tokens, marks included; default: that of the text encoder. Shorter is faster.
        single_file: also write pipeline.tflite: token ids and settings in, image out.
        web: also write a page for the browser, see `web_page.add_web_page`.
        node_modules: folder of its libraries; default: npm fetches them.
        samplers: names of the samplers beside that of `text_to_image`; default: all that ask once a step.

    Returns:
        The folder, a Path.

    Raises:
        ValueError: settings out of range, a folder with other things in it, another Keras backend than TensorFlow,
            a package or npm missing, a part that can't be converted or needs an operator that some LiteRT runtime lacks
            (names them), or a file that does not answer as Keras does.
    """
    folder = _checked_folder(folder)
    check_needs(_is_quantized(quantization), web, node_modules)
    num_tokens = _checked_tokens(text_to_image.model.text_encoder, num_tokens)
    _check_shapes(text_to_image.model.conditioning_spec(num_tokens))
    exported = exported_samplers(text_to_image.sampler, samplers)
    tokens = tokenizer_json(text_to_image.model.text_encoder.tokenizer)
    made = parts(text_to_image, num_tokens, ROWS, single_file)
    quantization = check_quantization(quantization, made)
    _check_sizes(made, quantization)
    steps = step_parts(text_to_image, exported)
    quantization |= dict.fromkeys(steps, "none")  # they are small, and exact
    made |= steps
    example = _example_texts(text_to_image, num_tokens)
    with draft_of(folder, replace=True) as draft:
        if web:  # first, since it needs the network
            add_web_page(draft, node_modules)
        files = {f"{name}.tflite": _file(name, part, quantization[name], example) for name, part in made.items()}
        files["tokenizer.json"] = _json(tokens, indent=None)
        files[MANIFEST_FILE] = _json(manifest(text_to_image, made, files, quantization, exported))
        for name, content in files.items():
            (draft / name).write_bytes(content)
        shutil.copyfile(PACKAGE / "runtimes" / "edge.py", draft / "generate.py")
        shutil.copyfile(Path(__file__).with_name("edge_readme.md"), draft / "README.md")
        _checked_folder(folder)  # somebody may have put something there meanwhile
    return folder


def _checked_folder(folder):
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"LiteRT files are written with KERAS_BACKEND=tensorflow. Received: {keras.backend.backend()!r}"
        )
    folder = Path(folder).resolve()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"`folder` is a file. Received: folder={folder}")
    others = other_files(folder)
    if others:
        named = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        raise ValueError(f"`folder` has other things in it, which would be lost: {named}. Received: folder={folder}")
    return folder


def other_files(folder):
    """Names of what is in a folder and is no part of an earlier export in it; what Python compiled is."""
    own = OWN_FILES if is_export(folder) else ()
    paths = [path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir()]
    names = [path.relative_to(folder).as_posix() for path in paths if path.parent.name != "__pycache__"]
    return [name for name in names if name not in own]


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


def _check_shapes(specs):
    """Raises ValueError for a member of the conditioning without a fixed shape, such as that of an inpainted image."""
    for name, spec in specs.items():
        if None in spec.shape[1:]:
            raise ValueError(f"The network must take text alone to be a LiteRT file. Received: one that takes {name!r}")


def _check_sizes(made, quantization):
    """Raises ValueError for a part whose weights are too large for a file."""
    for name, part in made.items():
        weights = {id(weight): math.prod(weight.shape) for model in part.models for weight in model.variables}
        size = BYTES[quantization[name]] * sum(weights.values())
        if size > litert_file.MAX_BYTES:
            raise ValueError(
                f"{name}.tflite can't be made: its weights take {size / 1e9:.2f} GB for quantization "
                f"{quantization[name]!r}, and a LiteRT file, the only one of a part, has at most "
                f"{litert_file.MAX_BYTES / 1e9:.2f} GB."
            )


def _is_quantized(quantization):
    return any(one != "none" for one in (quantization.values() if isinstance(quantization, dict) else [quantization]))


def _file(name, part, quantization, example):
    """The checked LiteRT file of a part, as bytes."""
    inputs = _example(part.inputs, example)
    try:
        content = litert_file.convert(part.function, part.models, part.inputs)
        if part.on_gpu:
            content = bound_masks(content)
            check_range(content, inputs)
        content = quantize(content, quantization)
        litert_file.check(content)
    except Exception as error:  # what the converter and the quantizer raise has many types
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"{name}.tflite can't be made: {kind}{error}") from error
    answers, expected = litert_file.run(content, inputs), part.function(**inputs)
    for key, value in expected.items():
        wrong = _difference(answers[key], keras.ops.convert_to_numpy(value), quantization)
        if wrong:
            raise ValueError(
                f"{name}.tflite does not answer as Keras does: `{key}` is off by {wrong} for quantization "
                f"{quantization!r}."
            )
    return content


def _example_texts(text_to_image, num_tokens):
    """The token ids of two `EXAMPLES` of different lengths and their conditioning, by the names of inputs."""
    token_ids = text_to_image.model.text_encoder.tokenize(EXAMPLES)[:, :num_tokens]
    members = conditioning.as_floats(text_to_image.encode_text(token_ids))
    members = {name: keras.ops.convert_to_numpy(member) for name, member in members.items()}
    return {"token_ids": token_ids[:1], "negative_token_ids": token_ids[1:], **members}


def _example(inputs, texts):
    """Plausible values for the inputs of a part: real prompts with their padding, the middle of time."""
    rng = np.random.default_rng(0)
    fixed = {"timesteps": 500.0, "guidance_scale": 2.0, "num_steps": 2, "seed": 7, **texts}
    fixed |= {"first_step": 0.5, "step": 0, "guidance_rescale": 0.7, "guidance_interval": [0.1, 1e30]}
    return {
        name: np.broadcast_to(fixed[name] if name in fixed else rng.standard_normal(spec.shape), spec.shape).astype(
            spec.dtype
        )
        for name, spec in inputs.items()
    }


def _difference(received, expected, quantization):
    """In words, how far an answer is off and what is allowed; None if it is near enough."""
    if expected.dtype == np.uint8 and quantization == "none":  # an image, where rounding alone is one level
        error, limit, unit = np.abs(received.astype(int) - expected).max(), LEVELS, "levels of 255"
    else:
        error, limit, unit = relative_error(received, expected), TOLERANCES[quantization], "of its size"
    return None if error <= limit else f"{error:.2g} {unit}, {limit:.2g} allowed"


def relative_error(received, expected):
    """Root mean square of the difference, by that of what is expected."""
    received, expected = np.asarray(received, "float64"), np.asarray(expected, "float64")
    finite = np.isfinite(expected)
    if (received[~finite] != expected[~finite]).any():
        return np.inf
    received, expected = received[finite], expected[finite]
    if not expected.size:
        return 0.0
    return np.sqrt(np.mean((received - expected) ** 2) / max(np.mean(expected**2), 1e-12))


def _json(value, indent=1):
    return (json.dumps(value, indent=indent, ensure_ascii=False) + "\n").encode()
