"""The edge runtime gives the pictures of `TextToImage`, alone, and says what is wrong with a folder."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from harness import needs_tensorflow
from PIL import Image

from latentdiff import ImageToImage, NoiseSchedule, TextToImage
from latentdiff.data.images import load_picture, read_settings
from latentdiff.diffusion import noise, samplers
from latentdiff.export.litert import manifest as litert_manifest
from latentdiff.export.web.page import WEB
from latentdiff.runtimes import edge
from latentdiff.settings import prompt_syntax

has_runtime = all(importlib.util.find_spec(name) for name in ("ai_edge_litert", "tokenizers"))
needs_runtime = pytest.mark.skipif(not has_runtime, reason="needs ai-edge-litert and tokenizers")

SETTINGS = [
    {},
    {"negative_prompt": "blue", "guidance_scale": 5.0, "num_steps": 7},
    {"guidance_scale": 1.0, "num_steps": 2},
    {"sampler": "dpmpp_2m", "num_steps": 8},
    {"guidance_scale": 6.0, "guidance_rescale": 0.7, "guidance_interval": (0.2, 3.0), "num_steps": 6},
]


@pytest.fixture
def folder(tmp_path, tiny_export):
    """A copy of the exported folder, to spoil."""
    return shutil.copytree(tiny_export[1], tmp_path / "edge")


# === The same pictures ===


@needs_tensorflow
@needs_runtime
@pytest.mark.parametrize("settings", SETTINGS)
def test_same_pictures(settings, tiny_export):
    pipeline, folder = tiny_export
    picture = edge.EdgePipeline(folder).generate("a red apple", seed=11, **settings)
    theirs = {("negative_prompts" if name == "negative_prompt" else name): value for name, value in settings.items()}
    expected = pipeline.generate("a red apple", seed=11, **theirs)
    assert picture.dtype == np.uint8 and expected.std() > 10
    np.testing.assert_allclose(picture.astype(int), expected, atol=2)


@needs_tensorflow
@needs_runtime
def test_same_pictures_at_the_temperature_of_the_manifest(folder, tiny_export):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["sampler"] = {"name": "dpmpp_2m", "spacing": "leading", "temperature": 0.6}
    path.write_text(json.dumps(manifest))
    pipeline, runtime = tiny_export[0], edge.EdgePipeline(folder)
    expected = pipeline.generate("a red apple", seed=11, sampler=manifest["sampler"])
    np.testing.assert_allclose(runtime.generate("a red apple", seed=11).astype(int), expected, atol=2)
    for name in ("dpmpp_2m", "ddim"):  # named, a sampler is as it is by default
        expected = pipeline.generate("a red apple", seed=11, sampler=name)
        np.testing.assert_allclose(runtime.generate("a red apple", seed=11, sampler=name).astype(int), expected, atol=2)
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype("uint8")
    theirs = ImageToImage(pipeline.model, guidance_scale=pipeline.guidance_scale, sampler=manifest["sampler"])
    settings = {"seed": 4, "num_steps": 5, "strength": 0.7}  # of a picture no noise is scaled
    expected = theirs.generate({"images": image, "prompts": "cat"}, **settings)
    np.testing.assert_allclose(runtime.generate("cat", image=image, **settings).astype(int), expected, atol=2)


@needs_tensorflow
@needs_runtime
@pytest.mark.parametrize("prompt", ["a (red) cat", r"a \(red:2\)", "red: 2", "red | cat", r"red:1 \| cat", "3:2 (cat)"])
def test_what_looks_like_weights_is_text(prompt, tiny_export):
    pipeline, folder = tiny_export
    runtime = edge.EdgePipeline(folder)
    (part,) = prompt_syntax.parse(prompt)
    assert not part.weighted
    np.testing.assert_array_equal(runtime.tokenize(prompt), pipeline.model.text_encoder.tokenize([part.text])[0])


@needs_tensorflow
@needs_runtime
def test_callback_sees_the_picture_grow(tiny_export):
    pipeline, folder = tiny_export
    seen = []
    edge.EdgePipeline(folder).generate("cat", seed=1, num_steps=4, callback=lambda *args: seen.append(args))
    assert [(step, count) for step, count, _ in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    pictures = [decode() for *_, decode in seen]
    theirs = []
    pipeline.generate("cat", seed=1, num_steps=4, callback=lambda step, count, decode: theirs.append(decode()[0]))
    np.testing.assert_allclose(np.array(pictures, int), theirs, atol=2)


@needs_tensorflow
@needs_runtime
@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m"])
@pytest.mark.parametrize("strength", [0.0, 0.55, 0.9, 1.0])
def test_same_pictures_from_a_picture(sampler, strength, tiny_export):
    pipeline, folder = tiny_export
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype("uint8")
    settings = {"seed": 4, "num_steps": 5, "sampler": sampler, "strength": strength}
    picture = edge.EdgePipeline(folder).generate("cat", image=image, **settings)
    theirs = ImageToImage(pipeline.model, guidance_scale=pipeline.guidance_scale)
    expected = theirs.generate({"images": image, "prompts": "cat"}, **settings)
    np.testing.assert_allclose(picture.astype(int), expected, atol=2)


@pytest.mark.slow
@needs_tensorflow
@needs_runtime
def test_same_pictures_of_the_shipped_preset(tmp_path):
    pipeline = TextToImage.from_preset("emoji-128")
    runtime = edge.EdgePipeline(pipeline.export_litert(tmp_path / "edge"))
    for seed, prompt in enumerate(["a red apple, 3d", "Grinning cat (flat)!", "police car, noto"]):
        picture = runtime.generate(prompt, seed=seed)
        np.testing.assert_allclose(picture.astype(int), pipeline.generate(prompt, seed=seed), atol=2)


# === The same arithmetic ===


@pytest.mark.parametrize("seed", [0, 7, 2**31 - 1])
def test_noise(seed):
    expected = noise.normal(np.array([seed], "int32"), (16, 16, 8))[0]
    np.testing.assert_allclose(edge.normal(seed, (16, 16, 8)), np.asarray(expected), atol=2e-6)


def pair_of_schedules(**settings):
    theirs = NoiseSchedule(**settings)
    positions = {
        "signal_positions": theirs.signal_positions.tolist(),
        "noise_positions": theirs.noise_positions.tolist(),
    }
    return theirs, edge.Schedule(theirs.num_train_timesteps, theirs.preserves_variance, **positions)


@pytest.mark.parametrize("kind", ["cosine", "scaled_linear", "rectified_flow"])
@pytest.mark.parametrize("prediction_type", ["noise", "velocity", "latents"])
def test_schedule(kind, prediction_type):
    theirs, ours = pair_of_schedules(kind=kind)
    prediction, latents = np.random.default_rng(0).standard_normal((2, 1, 3, 3, 2)).astype("float32")
    for timestep in (-1.0, 0.0, 0.3, 412.7, 998.5, 999.0):
        here = ours.moment(timestep)
        rates = theirs.rates(np.array([timestep], "float32"))
        np.testing.assert_allclose([here.signal, here.noise], np.ravel(rates), atol=1e-6)
        if timestep < 0 or (kind, prediction_type) == ("rectified_flow", "noise"):
            continue
        expected = theirs.split(prediction, latents, np.array([timestep], "float32"), prediction_type)
        for one, other in zip(ours.split(prediction, latents, here, prediction_type), expected, strict=True):
            np.testing.assert_allclose(one, np.asarray(other), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
@pytest.mark.parametrize("num_steps", [1, 3, 7, 16, 20, 999, 1000])
def test_timesteps(spacing, num_steps):
    theirs, ours = pair_of_schedules(kind="cosine")
    places = edge.Places(spacing, num_steps, 1.0, ours)
    index = np.arange(num_steps + 1, dtype="int32")
    steps = np.full_like(index, num_steps)
    expected = np.asarray(samplers.DDIM(spacing=spacing).timesteps(index, steps, theirs))
    assert [places.moment(place).timestep for place in index] == expected.tolist()
    assert [here.timestep for here, _ in places.steps()] == expected[:-1].tolist()


# === The same picture files ===

LEVELS = np.random.default_rng(0).integers(0, 2**16, (16, 12, 4)).astype("uint16")
FILES = {
    "grey-16.png": Image.fromarray(LEVELS[..., 0]),
    "grey-8.png": Image.fromarray((LEVELS[..., 0] >> 8).astype("uint8")),
    "rgba.png": Image.fromarray((LEVELS >> 8).astype("uint8")),
    "palette.gif": Image.fromarray((LEVELS >> 8).astype("uint8")).quantize(16),
}


@pytest.mark.parametrize("name", FILES)
def test_picture_files(name, tmp_path):
    FILES[name].save(tmp_path / name)
    received = edge.load_image(tmp_path / name, (8, 6))
    assert received.std() > 10
    np.testing.assert_array_equal(received, load_picture(tmp_path / name, (8, 6)))


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_picture_files_of_more_bits(dtype, tmp_path):
    Image.fromarray(LEVELS[..., 0].astype(dtype)).save(tmp_path / "deep.tif")
    for load in (edge.load_image, load_picture):
        with pytest.raises(ValueError, match="must have 8 or 16 bits a channel"):
            load(tmp_path / "deep.tif", (8, 6))


# === What is wrong ===


@needs_tensorflow
@needs_runtime
@pytest.mark.parametrize("name", ["denoiser.tflite", "text_encoder.tflite", "tokenizer.json"])
def test_spoiled_files(name, folder):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(ValueError, match=f"{name} is truncated or swapped"):
        edge.EdgePipeline(folder)
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=f"{name} is damaged or swapped"):
        edge.EdgePipeline(folder)
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        edge.EdgePipeline(folder)


@needs_tensorflow
@needs_runtime
def test_spoiled_manifest(folder, tmp_path):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for change in ({"version": 2}, {"format": "other"}):
        path.write_text(json.dumps({**manifest, **change}))
        with pytest.raises(ValueError, match="is not latentdiff-litert version 1"):
            edge.EdgePipeline(folder)
    path.write_text("[]")
    with pytest.raises(ValueError, match="is not latentdiff-litert version 1"):
        edge.EdgePipeline(folder)
    path.write_text(json.dumps(manifest)[:-9])
    with pytest.raises(ValueError, match="manifest.json.* is damaged"):
        edge.EdgePipeline(folder)
    with pytest.raises(ValueError, match="no exported folder"):
        edge.EdgePipeline(tmp_path)


def without(value, place):
    """A JSON value without what is at a place."""
    first, *rest = place
    return {
        name: without(one, rest) if name == first and rest else one
        for name, one in value.items()
        if name != first or rest
    }


@needs_tensorflow
@needs_runtime
def test_a_manifest_that_lacks_something(folder):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for key in manifest.keys() - {"format", "version", "latentdiff_version"}:
        path.write_text(json.dumps(without(manifest, [key])))
        with pytest.raises(ValueError, match=f"manifest.json is damaged: it lacks `{key}"):
            edge.EdgePipeline(folder)
    records = [["files", "denoiser.tflite", "sha256"], ["files", "tokenizer.json", "bytes"]]
    for place in [*(needed.split("/") for needed in edge.NEEDED.split()), *records]:
        path.write_text(json.dumps(without(manifest, place)))
        with pytest.raises(ValueError, match=f"manifest.json is damaged: it lacks `{'/'.join(place)}`"):
            edge.EdgePipeline(folder)


@needs_tensorflow
@needs_runtime
def test_a_manifest_of_json_that_is_no_manifest(folder):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for files in (None, [], {}, ["denoiser.tflite"], "all"):
        path.write_text(json.dumps({**manifest, "files": files}))
        with pytest.raises(ValueError, match="manifest.json is damaged: it lacks `files"):
            edge.EdgePipeline(folder)


@needs_tensorflow
@needs_runtime
@pytest.mark.parametrize(
    "settings, message",
    [
        ({"prompt": "a red apple and a green cat"}, "too long: it has 7 tokens, 6 fit"),
        ({"negative_prompt": "a " * 7}, "too long"),
        ({"prompt": "(red:1.3) apple"}, "weights"),
        ({"negative_prompt": "cat:0.5 | the small cat: .5"}, "weights"),
        ({"num_steps": 0}, "`num_steps`"),
        ({"num_steps": 2.5}, "`num_steps`"),
        ({"guidance_scale": 0.5}, "`guidance_scale`"),
        ({"guidance_scale": 1000.5}, "`guidance_scale`"),
        ({"guidance_rescale": 2}, "`guidance_rescale`"),
        ({"guidance_interval": (3, 1)}, "`guidance_interval`"),
        ({"seed": -1}, "`seed`"),
        ({"seed": 2**31}, "`seed`"),
        ({"sampler": "heun"}, "`sampler`"),
        ({"image": np.zeros((4, 4, 3), "uint8")}, "`image`"),
        ({"image": np.zeros((8, 8, 3), "uint8"), "strength": 1.5}, "`strength`"),
    ],
)
def test_wrong_settings(settings, message, tiny_export):
    with pytest.raises(ValueError, match=message):
        edge.EdgePipeline(tiny_export[1]).generate(**{"prompt": "cat", **settings})


# === The same limits as elsewhere ===


def test_what_is_written_twice_agrees():
    assert edge.SAMPLERS == litert_manifest.SAMPLERS
    assert (edge.FORMAT, edge.FORMAT_VERSION) == (litert_manifest.FORMAT, litert_manifest.FORMAT_VERSION)
    assert edge.MAX_SEED == noise.MAX_SEED
    script = (WEB / "text_to_image.js").read_text()
    for name, value in (("FORMAT", f'"{edge.FORMAT}"'), ("FORMAT_VERSION", "1"), ("MAX_SEED", "2 ** 31 - 1")):
        assert f"const {name} = {value};" in script
    assert set(re.findall(r"^  (\w+): \(\[latents", script, re.MULTILINE)) == set(edge.SAMPLERS)
    written = re.search(r"const NEEDED = (.*?);", script, re.DOTALL)[1]
    assert {*re.findall(r'"([^"]+)"', written), "parts/encoder/file"} == set(edge.NEEDED.split())
    assert f"guidanceScale, 1, {edge.MAX_GUIDANCE_SCALE:.0f}," in script


@needs_tensorflow
def test_the_server_has_the_same_limits():
    from latentdiff.export.saved_model.request_bounds import MAX_GUIDANCE_SCALE

    assert edge.MAX_GUIDANCE_SCALE == MAX_GUIDANCE_SCALE


@needs_tensorflow
@needs_runtime
def test_threads(monkeypatch, tiny_export):
    from ai_edge_litert import interpreter

    folder = tiny_export[1]
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    made, real = [], interpreter.Interpreter

    def recording(num_threads, **options):
        made.append(num_threads)
        return real(num_threads=1, **options)

    monkeypatch.setattr(interpreter, "Interpreter", recording)
    for options in ({}, {"num_threads": 2}):
        edge.EdgePipeline(folder, **options).generate("cat", num_steps=1)
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    edge.EdgePipeline(folder).generate("cat", num_steps=1)
    assert made == [3, 3, 3, 2, 2, 2, 7, 7, 7]
    monkeypatch.setattr(interpreter, "Interpreter", real)
    with pytest.raises(ValueError, match="num_threads"):
        edge.EdgePipeline(folder, num_threads=0).generate("cat")


# === Alone ===


def test_imports_nothing_heavy():
    allowed = {"PIL", "ai_edge_litert", "numpy", "tokenizers"}
    with open(edge.__file__) as file:
        tree = ast.parse(file.read())
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert {name.split(".")[0] for name in names} <= allowed | sys.stdlib_module_names


BLOCKED = """
import runpy, sys

for name in ("tensorflow", "tf_keras", "keras", "keras_hub", "keras_nlp", "jax", "torch", "latentdiff"):
    sys.modules[name] = None  # importing it fails
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@needs_tensorflow
@needs_runtime
def test_the_folder_alone_makes_a_picture(folder, tmp_path, tiny_export):
    program = [sys.executable, "-I", "-c", BLOCKED, str(folder / "generate.py")]
    program += ["a red apple", "--seed", "5", "--num-steps", "2"]
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 4)).astype("uint8")
    Image.fromarray(image).save(tmp_path / "start.png")
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout == "a-red-apple-seed-5.png\n"
    picture = np.asarray(Image.open(tmp_path / "a-red-apple-seed-5.png"))
    expected = tiny_export[0].generate("a red apple", seed=5, num_steps=2)
    np.testing.assert_allclose(picture.astype(int), expected, atol=2)
    assert read_settings(tmp_path / "a-red-apple-seed-5.png")["prompt"] == "a red apple"
    more = ["--image", "start.png", "--strength", "0.5", "--output", "new/picture.png"]
    subprocess.run([*program, *more], cwd=tmp_path, capture_output=True, check=True)
    other = np.asarray(Image.open(tmp_path / "new" / "picture.png"))
    assert other.shape == picture.shape and (other != picture).any()


@needs_tensorflow
@needs_runtime
def test_errors_are_one_line(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (folder / "decoder.tflite").unlink()
    assert edge.main(["cat", "--folder", str(folder)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "decoder.tflite is missing" in captured.err
    with pytest.raises(SystemExit):
        edge.main(["cat", "--num-steps", "many"])
