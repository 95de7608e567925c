"""An imported Stable Diffusion, exported: its SavedModel and its LiteRT files make the images of `generate`."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from convert.tiny_folders import golden, write_folder
from golden import clip_words
from golden.clip_words import NEGATIVE, PROMPT, SHORTER
from harness import gap, needs_tensorflow

from latentdiff import ImageToImage, TextToImage
from latentdiff.data.images import load_picture
from latentdiff.diffusion import samplers
from latentdiff.evaluation.psnr import psnr
from latentdiff.export.litert.litert import export_litert
from latentdiff.export.saved_model.signatures import Signatures
from latentdiff.export.saved_model.stored_weights import StoredWeights
from latentdiff.runtimes.edge import EdgePipeline
from latentdiff.settings.prompt_syntax import escape

has_runtime = all(importlib.util.find_spec(name) for name in ("ai_edge_litert", "litert_quantizer", "tokenizers"))
needs_runtime = pytest.mark.skipif(not has_runtime, reason="needs ai-edge-litert, litert-quantizer and tokenizers")
pytestmark = [needs_tensorflow, pytest.mark.slow]
SIDE = 32
SETTINGS = {"negative_prompts": NEGATIVE, "num_steps": 6, "guidance_scale": 3.0}


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A tiny Stable Diffusion 2 with velocity prediction, for small images."""
    return TextToImage.from_diffusers(write_folder(tmp_path_factory.mktemp("sd2"), golden("sd2")), image_size=SIDE)


def served(function, request):
    import tensorflow as tf

    tensors = {name: tf.constant(values) for name, values in request.items()}
    return {name: values.numpy() for name, values in function(**tensors).items()}


def inputs(prompts, signatures):
    """A request for the images of prompts with seeds 0, 1, ..., and `SETTINGS`."""
    count = len(prompts)
    given = {"prompts": prompts, "seeds": np.arange(count, dtype="int32")}
    given |= {"negative_prompts": [NEGATIVE] * count, "num_steps": np.full(count, 6, "int32")}
    return {**signatures.example(count, 1), **given, "guidance_scale": np.full(count, 3.0, "float32")}


# === SavedModel ===


@pytest.mark.filterwarnings("ignore:The prompt .* was cut")
def test_saved_model(imported, tmp_path):
    """Prompts in, images out; and the text features of fuzzed strings, so that their token ids are those of Python."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(imported.export(tmp_path / "sd" / "1", max_steps=60)))
    strings = clip_words.strings(200)
    received = served(loaded.signatures["encode_text"], {"prompts": strings})["context"]
    expected = imported.encode_text(imported.model.text_encoder.tokenize(strings))["context"]
    np.testing.assert_allclose(received, expected, atol=1e-4)
    signatures = Signatures(imported, StoredWeights(imported.model), samplers.get(imported.sampler), 60)
    prompts = [PROMPT, "猫 2024", strings[3]]
    received = served(loaded.signatures["serving_default"], inputs(prompts, signatures))["images"]
    expected = imported.generate([escape(text) for text in prompts], seed=[0, 1, 2], **SETTINGS)
    assert expected.std() > 10 and gap(received, expected) <= 2


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_graphs_of_all_samplers(imported, name):
    signatures = Signatures(imported, StoredWeights(imported.model), samplers.get(name), 60)
    function = signatures.functions()["serving_default"]
    expected = imported.generate([PROMPT, "a cat"], seed=[0, 1], sampler=name, **SETTINGS)
    assert gap(served(function, inputs([PROMPT, "a cat"], signatures))["images"], expected) <= 2


@pytest.mark.parametrize("token_ids", [False, True])
def test_long_prompts(token_ids, tmp_path):
    """A prompt of two chunks beside a short one, in a model that takes three."""
    import tensorflow as tf

    pipeline = TextToImage.from_diffusers(write_folder(tmp_path / "sd1", golden("sd1")), max_chunks=3, image_size=SIDE)
    folder = pipeline.export(tmp_path / "sd" / "1", token_ids=token_ids)
    signatures = Signatures(pipeline, StoredWeights(pipeline.model), samplers.get(pipeline.sampler), 60, token_ids)
    function = tf.saved_model.load(str(folder)).signatures["serving_default"]
    prompts = [PROMPT, SHORTER]
    request = inputs(prompts, signatures)
    if token_ids:
        for name in ("prompts", "negative_prompts"):
            request[name.replace("prompts", "token_ids")] = pipeline.model.text_encoder.tokenize(request.pop(name))
    expected = pipeline.generate(prompts, seed=[0, 1], **SETTINGS)
    assert gap(served(function, request)["images"], expected) <= 2
    first = pipeline.generate(SHORTER[:100], seed=1, **SETTINGS)
    assert gap(expected[1], first) > 2


# === LiteRT ===


@pytest.fixture(scope="module")
def edges(imported, tmp_path_factory):
    """Exported folders by quantization; that of float16 has all samplers."""
    base = tmp_path_factory.mktemp("edge")
    return {
        "float16": export_litert(imported, base / "float16", "float16"),
        "dynamic_int8": export_litert(imported, base / "int8", "dynamic_int8", samplers=[]),
    }


def compare(imported, folder, sampler, images=None):
    """The image of the edge, and that of `generate`."""
    runtime = EdgePipeline(folder)
    pipeline = imported if images is None else ImageToImage.from_pipeline(imported)
    name = next(iter(runtime.manifest["samplers"])) if sampler is None else sampler
    given = {"seed": 3, **SETTINGS, **({} if images is None else {"images": images, "strength": 0.6})}
    expected = pipeline.generate(PROMPT, **given, **({} if sampler is None else {"sampler": sampler}))
    assert expected.std() > 10
    return runtime.generate(PROMPT, sampler=name, **given), expected


CUT = [None, *(name for name, kind in samplers.SAMPLERS.items() if kind.denoiser_calls == 1)]


@needs_runtime
@pytest.mark.parametrize("sampler", CUT)
@pytest.mark.parametrize("given", [False, True])
def test_float16(imported, edges, sampler, given):
    images = imported.generate("a cat", seed=5, num_steps=3) if given else None
    received, expected = compare(imported, edges["float16"], sampler, images)
    assert gap(received, expected) <= 2


@needs_runtime
@pytest.mark.parametrize("given", [False, True])
def test_int8(imported, edges, given):
    images = imported.generate("a cat", seed=5, num_steps=3) if given else None
    received, expected = compare(imported, edges["dynamic_int8"], None, images)
    assert psnr(received[None], expected[None]) > 25


@needs_runtime
def test_xl(tmp_path):
    """Two text encoders, a vector of the whole prompt, and the sizes of the image; the empty prompt is zeros."""
    pipeline = TextToImage.from_diffusers(write_folder(tmp_path / "xl", golden("xl")), image_size=SIDE)
    folder = export_litert(pipeline, tmp_path / "edge", "float16", samplers=[])
    assert {"pooled_context", "image_sizes"} < EdgePipeline(folder).manifest["parts"]["denoiser"]["inputs"].keys()
    received, expected = compare(pipeline, folder, None)
    assert gap(received, expected) <= 2


@needs_runtime
def test_the_command_on_the_edge(imported, edges, tmp_path):
    """`python generate.py` in the exported folder, as the page has it."""
    words = [PROMPT, "--seed", "3", "--num-steps", "6", "--output", str(tmp_path / "made.png")]
    subprocess.run([sys.executable, str(edges["float16"] / "generate.py"), *words], check=True)
    expected = imported.generate(PROMPT, seed=3, num_steps=6)
    assert gap(load_picture(tmp_path / "made.png", imported.image_size), expected) <= 2
