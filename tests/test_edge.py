"""The edge runtime gives the pictures of `TextToImage`, alone, and says what is wrong with a folder."""

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from exported import tiny_export
from harness import needs_tensorflow
from PIL import Image

from latentdiff import ImageToImage, NoiseSchedule, TextToImage, edge, noise, prompt_syntax, samplers
from latentdiff.images import read_settings

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
def folder(tmp_path):
    """A copy of the exported folder, to spoil."""
    return shutil.copytree(tiny_export()[1], tmp_path / "edge")


# === The same pictures ===


@needs_tensorflow
@needs_runtime
@pytest.mark.parametrize("settings", SETTINGS)
def test_same_pictures(settings):
    pipeline, folder = tiny_export()
    picture = edge.EdgePipeline(folder).generate("a red apple", seed=11, **settings)
    theirs = {("negative_prompts" if name == "negative_prompt" else name): value for name, value in settings.items()}
    expected = pipeline.generate("a red apple", seed=11, **theirs)
    assert picture.dtype == np.uint8 and expected.std() > 10
    np.testing.assert_allclose(picture.astype(int), expected, atol=2)


@needs_tensorflow
@needs_runtime
@pytest.mark.parametrize("prompt", ["a (red) cat", r"a \(red:2\)", "red: 2", "red | cat", r"red:1 \| cat", "3:2 (cat)"])
def test_what_looks_like_weights_is_text(prompt):
    pipeline, folder = tiny_export()
    runtime = edge.EdgePipeline(folder)
    (part,) = prompt_syntax.parse(prompt)
    assert not part.weighted
    np.testing.assert_array_equal(runtime.tokenize(prompt), pipeline.model.text_encoder.tokenize([part.text])[0])


@needs_tensorflow
@needs_runtime
def test_callback_sees_the_picture_grow():
    pipeline, folder = tiny_export()
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
def test_same_pictures_from_a_picture(sampler, strength):
    pipeline, folder = tiny_export()
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
        ({"guidance_rescale": 2}, "`guidance_rescale`"),
        ({"guidance_interval": (3, 1)}, "`guidance_interval`"),
        ({"seed": -1}, "`seed`"),
        ({"seed": 2**31}, "`seed`"),
        ({"sampler": "heun"}, "`sampler`"),
        ({"image": np.zeros((4, 4, 3), "uint8")}, "`image`"),
        ({"image": np.zeros((8, 8, 3), "uint8"), "strength": 1.5}, "`strength`"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        edge.EdgePipeline(tiny_export()[1]).generate(**{"prompt": "cat", **settings})


# === Alone ===


def test_imports_nothing_heavy():
    allowed = {"PIL", "ai_edge_litert", "numpy", "tokenizers"}
    with open(edge.__file__) as file:
        tree = ast.parse(file.read())
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert {name.split(".")[0] for name in names} <= allowed | sys.stdlib_module_names


@needs_tensorflow
@needs_runtime
def test_the_folder_alone_makes_a_picture(folder, tmp_path):
    program = [sys.executable, "-I", str(folder / "generate.py"), "a red apple", "--seed", "5", "--num-steps", "2"]
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 4)).astype("uint8")
    Image.fromarray(image).save(tmp_path / "start.png")
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout == "a-red-apple-seed-5.png\n"
    picture = np.asarray(Image.open(tmp_path / "a-red-apple-seed-5.png"))
    expected = tiny_export()[0].generate("a red apple", seed=5, num_steps=2)
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
