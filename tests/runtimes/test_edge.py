"""The edge runtime gives the images of `TextToImage`, alone, and says what is wrong with a folder."""

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
from harness import EXPORTED, first_fast, needs_tensorflow
from PIL import Image

from latentdiff import ImageToImage, Inpaint, TextToImage
from latentdiff.data.images import load_mask, load_picture, read_settings
from latentdiff.diffusion import samplers
from latentdiff.export.litert import manifest as litert_manifest
from latentdiff.export.web.page import WEB
from latentdiff.runtimes import edge
from latentdiff.settings import prompt_syntax, table

has_runtime = all(importlib.util.find_spec(name) for name in ("ai_edge_litert", "tokenizers"))
needs_runtime = pytest.mark.skipif(not has_runtime, reason="needs ai-edge-litert and tokenizers")

CUT = [name for name, sampler in samplers.SAMPLERS.items() if sampler.denoiser_calls == 1]
SETTINGS = [
    {},
    {"negative_prompts": "blue", "guidance_scale": 5.0, "num_steps": 7},
    {"guidance_scale": 1.0, "num_steps": 2},
    {"sampler": "dpmpp_2m", "num_steps": 8},
    {"guidance_scale": 6.0, "guidance_rescale": 0.7, "guidance_interval": (0.2, 3.0), "num_steps": 6},
]


@pytest.fixture
def folder(tmp_path, tiny_export):
    """A copy of the exported folder, to spoil."""
    return shutil.copytree(tiny_export[1], tmp_path / "edge")


# === The same images ===


@needs_tensorflow
@needs_runtime
@pytest.mark.parametrize("settings", SETTINGS)
def test_same_pictures(settings, tiny_export):
    pipeline, folder = tiny_export
    picture = edge.EdgePipeline(folder).generate("a red apple", seed=11, **settings)
    expected = pipeline.generate("a red apple", seed=11, **settings)
    assert picture.dtype == np.uint8 and expected.std() > 10
    np.testing.assert_allclose(picture.astype(int), expected, atol=2)


@pytest.mark.slow
@needs_tensorflow
@needs_runtime
@pytest.mark.parametrize("sampler", CUT)
def test_same_pictures_with_every_sampler(sampler, whole_export):
    pipeline, folder = whole_export
    settings = {"seed": 3, "num_steps": 6, "sampler": sampler, "guidance_scale": 3.0}
    picture = edge.EdgePipeline(folder).generate("a red apple", **settings)
    np.testing.assert_allclose(picture.astype(int), pipeline.generate("a red apple", **settings), atol=2)


@pytest.mark.slow
@needs_tensorflow
@needs_runtime
def test_a_sampler_with_settings_of_its_own(tmp_path, tiny_export):
    """It is the default and called "preset"; named, a sampler is as it is by default."""
    pipeline, runtime = tiny_export[0], None
    sampler = {"name": "dpmpp_2m", "spacing": "leading", "temperature": 0.6}
    theirs = TextToImage.from_pipeline(pipeline, sampler=sampler)
    runtime = edge.EdgePipeline(theirs.export_litert(tmp_path / "edge", samplers=["dpmpp_2m"]))
    assert list(runtime.manifest["samplers"]) == ["preset", "dpmpp_2m"]
    for given, same in ((None, sampler), ("preset", sampler), ("dpmpp_2m", "dpmpp_2m")):
        expected = pipeline.generate("a red apple", seed=11, sampler=same)
        received = runtime.generate("a red apple", seed=11, sampler=given)
        np.testing.assert_allclose(received.astype(int), expected, atol=2)
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype("uint8")
    settings = {"seed": 4, "num_steps": 5, "strength": 0.7}  # of an image no noise is scaled
    expected = ImageToImage.from_pipeline(theirs).generate("cat", images=image, **settings)
    np.testing.assert_allclose(runtime.generate("cat", images=image, **settings).astype(int), expected, atol=2)
    with pytest.raises(ValueError, match="`sampler` must be one of preset, dpmpp_2m. Received: sampler='ddim'"):
        runtime.generate("cat", sampler="ddim")


@needs_tensorflow
@needs_runtime
def test_each_prompt_has_its_own_settings(tiny_export):
    pipeline, folder = tiny_export
    runtime = edge.EdgePipeline(folder)
    settings = {
        "seed": [5, 6],
        "num_steps": [2, 4],
        "guidance_scale": np.array([1.0, 3.0]),
        "negative_prompts": ["", "blue"],
        "guidance_interval": [None, (0.1, 2.0)],
    }
    images = runtime.generate(["cat", "a red apple"], num_images=2, **settings)
    assert images.shape == (4, 8, 8, 3)
    for row, prompt in enumerate(["cat", "a red apple"]):
        own = {name: values[row] for name, values in settings.items() if name != "seed"}
        for k in range(2):
            expected = pipeline.generate(prompt, seed=settings["seed"][row] + k, **own)
            np.testing.assert_allclose(images[2 * row + k].astype(int), expected, atol=2)


@needs_tensorflow
@needs_runtime
def test_seeds_are_drawn_for_each_prompt(tiny_export, monkeypatch):
    runtime, drawn = edge.EdgePipeline(tiny_export[1]), iter([7, 9])
    monkeypatch.setattr(edge.secrets, "randbelow", lambda limit: next(drawn) if limit == 1_000_000 else None)
    images = runtime.generate(["cat", "cat"], num_steps=2)
    np.testing.assert_array_equal(images, runtime.generate(["cat", "cat"], num_steps=2, seed=[7, 9]))


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
@pytest.mark.parametrize("sampler", EXPORTED)
@pytest.mark.parametrize("strength", first_fast([0.55, 0.0, 0.9, 1.0]))
def test_same_pictures_from_a_picture(sampler, strength, tiny_export):
    pipeline, folder = tiny_export
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype("uint8")
    settings = {"seed": 4, "num_steps": 5, "sampler": sampler, "strength": strength}
    picture = edge.EdgePipeline(folder).generate("cat", images=image, **settings)
    theirs = ImageToImage(pipeline.model, guidance_scale=pipeline.guidance_scale)
    expected = theirs.generate("cat", images=image, **settings)
    np.testing.assert_allclose(picture.astype(int), expected, atol=2)


@needs_tensorflow
@needs_runtime
@pytest.mark.parametrize("options", [{}, {"strength": 0.6, "keep_pixels": True, "sampler": "dpmpp_2m"}])
def test_same_pictures_in_a_mask(options, tiny_export):
    pipeline, folder = tiny_export
    rng = np.random.default_rng(0)
    images, masks = rng.integers(0, 256, (2, 8, 8, 3)).astype("uint8"), rng.random((2, 8, 8)) < 0.1
    settings = {"seed": [4, 9], "num_steps": 5, **options}
    received = edge.EdgePipeline(folder).generate(["cat", "a red apple"], images=images, masks=masks, **settings)
    inputs = {"images": images, "masks": masks}
    expected = Inpaint.from_pipeline(pipeline).generate(["cat", "a red apple"], **inputs, **settings)
    np.testing.assert_allclose(received.astype(int), expected, atol=2)
    assert (received != images).any()


@pytest.mark.slow
@needs_tensorflow
@needs_runtime
def test_same_pictures_of_the_shipped_preset(tmp_path):
    pipeline = TextToImage.from_preset("emoji-128")
    runtime = edge.EdgePipeline(pipeline.export_litert(tmp_path / "edge"))
    for seed, prompt in enumerate(["a red apple, 3d", "Grinning cat (flat)!", "police car, noto"]):
        for sampler in (None, CUT[seed], CUT[seed + 3]):
            picture = runtime.generate(prompt, seed=seed, sampler=sampler)
            expected = pipeline.generate(prompt, seed=seed, sampler=sampler)
            np.testing.assert_allclose(picture.astype(int), expected, atol=2)


# === The same image files ===

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
    mask = edge.load_image(tmp_path / name, (8, 6), mask=True)
    np.testing.assert_array_equal(mask, load_mask(tmp_path / name, (8, 6)))


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
    with pytest.raises(ValueError, match=f"{name} is truncated, damaged or swapped"):
        edge.EdgePipeline(folder)
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=f"{name} is truncated, damaged or swapped"):
        edge.EdgePipeline(folder)
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        edge.EdgePipeline(folder)


@needs_tensorflow
@needs_runtime
def test_spoiled_manifest(folder, tmp_path):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for change in ({"version": 3}, {"format": "other"}):
        path.write_text(json.dumps({**manifest, **change}))
        with pytest.raises(ValueError, match=r"is not latentdiff-litert version 2\. Received"):
            edge.EdgePipeline(folder)
    for text in ("[]", "null", "{}", json.dumps(manifest)[:-9]):
        path.write_text(text)
        with pytest.raises(ValueError, match="is no exported folder, or its manifest.json is damaged"):
            edge.EdgePipeline(folder)
    with pytest.raises(ValueError, match="no exported folder"):
        edge.EdgePipeline(tmp_path)


@needs_tensorflow
@needs_runtime
def test_a_folder_of_the_older_format_is_named_as_such(folder, capsys):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 1}))
    assert edge.main(["cat", "--folder", str(folder)]) == 1
    assert "but older: run the generate.py that it carries, or export it again" in capsys.readouterr().err


@needs_tensorflow
@needs_runtime
def test_unknown_keys_of_a_manifest_are_passed_over(folder):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    before = edge.EdgePipeline(folder).generate("cat", seed=1, num_steps=1)
    path.write_text(json.dumps({**manifest, "comment": "of a later version", "parts": manifest["parts"]}))
    np.testing.assert_array_equal(edge.EdgePipeline(folder).generate("cat", seed=1, num_steps=1), before)


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
    for key in manifest.keys() - {"format", "version", "latentdiff_version"}:  # the manifest has what is needed
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
        ({"prompts": "a red apple and a green cat"}, "too long: it has 7 tokens, 6 fit"),
        ({"negative_prompts": "a " * 7}, "too long"),
        ({"prompts": "(red:1.3) apple"}, "weights"),
        ({"negative_prompts": "cat:0.5 | the small cat: .5"}, "weights"),
        ({"prompts": []}, "`prompts`"),
        ({"prompts": [3]}, "`prompts` must be valid Unicode text"),
        ({"num_images": 0}, "`num_images`"),
        ({"num_steps": 0}, "`num_steps` must be a whole number from 1 to 1000. Received: num_steps=0"),
        ({"num_steps": 1001}, "`num_steps`"),
        ({"num_steps": 2.5}, "`num_steps`"),
        ({"num_steps": True}, "`num_steps`"),
        ({"num_steps": [2, 3]}, "`num_steps` must be one value, or one for each prompt. Received: 2 values"),
        ({"guidance_scale": 0.5}, "`guidance_scale`"),
        ({"guidance_scale": 1000.5}, "`guidance_scale`"),
        ({"guidance_scale": float("nan")}, "`guidance_scale`"),
        ({"guidance_scale": "4"}, "`guidance_scale`"),
        ({"guidance_rescale": 2}, "`guidance_rescale`"),
        ({"guidance_interval": (3, 1)}, "`guidance_interval`"),
        ({"guidance_interval": [(0, 1, 2)]}, "`guidance_interval`"),
        ({"guidance_interval": [(1,)]}, "`guidance_interval`"),
        ({"seed": -1}, "`seed`"),
        ({"seed": 2**31}, "`seed`"),
        ({"seed": 2**31 - 1, "num_images": 2}, "`seed`"),
        ({"sampler": "heun"}, "`sampler` must be one of "),
        ({"sampler": ["ddim", 3]}, "`sampler`"),
        ({"images": np.zeros((4, 4, 3), "uint8")}, "`images`"),
        ({"images": np.zeros((8, 8, 3), "float32")}, "`images`"),
        ({"images": np.zeros((8, 8, 3), "uint8"), "strength": 1.5}, "`strength`"),
        ({"images": np.zeros((8, 8, 3), "uint8"), "masks": np.zeros((8, 8), "uint8")}, "`masks`"),
        ({"strength": 0.5}, "`strength` needs `images`"),
        ({"keep_pixels": True}, "`keep_pixels` needs `masks`"),
        ({"guidence_scale": 2.0}, "Unknown setting, the nearest is guidance_scale. Received: 'guidence_scale'"),
        ({"colour": "red"}, "Unknown setting"),
    ],
)
def test_wrong_settings(settings, message, tiny_export):
    with pytest.raises(ValueError, match=re.escape(message)):
        edge.EdgePipeline(tiny_export[1]).generate(**{"prompts": "cat", **settings})


@needs_tensorflow
@needs_runtime
def test_masks_need_images(tiny_export):
    with pytest.raises(ValueError, match="`strength` needs `images`"):
        edge.EdgePipeline(tiny_export[1]).generate("cat", masks=np.ones((8, 8), bool), strength=0.5)


# === The same limits as elsewhere ===


def test_what_is_written_twice_agrees():
    assert (edge.FORMAT, edge.FORMAT_VERSION) == (litert_manifest.FORMAT, litert_manifest.FORMAT_VERSION)
    assert edge.DRAWN_SEEDS == table.DRAWN_SEEDS
    script = (WEB / "text_to_image.js").read_text()
    for name, value in (("FORMAT", f'"{edge.FORMAT}"'), ("FORMAT_VERSION", f"{edge.FORMAT_VERSION}")):
        assert f"const {name} = {value};" in script
    written = re.search(r"const NEEDED = (.*?);", script, re.DOTALL)[1]
    assert set(re.findall(r'"([^"]+)"', written)) == set(edge.NEEDED.split())


@needs_tensorflow
@needs_runtime
def test_the_settings_are_those_of_the_table(tiny_export):
    pipeline, folder = tiny_export
    rows = edge.EdgePipeline(folder).settings
    sizes = {row.name for row in table.SIZES}  # of networks that take them
    assert list(rows) == [name for name in table.SETTINGS if name not in sizes]
    for name in ("num_steps", "guidance_scale", "guidance_rescale"):
        assert rows[name]["default"] == getattr(pipeline, name)
    assert rows["num_steps"]["high"] == 1000 and rows["sampler"]["choices"] == list(EXPORTED)
    assert rows["guidance_interval"]["default"] == [0.0, 1e30]


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
    assert made == [3] * 5 + [2] * 5 + [7] * 5
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
    Image.new("L", (16, 16), 255).save(tmp_path / "mask.png")
    more = ["--image", "start.png", "--mask", "mask.png", "--strength", "0.5", "--output", "new/picture.PNG"]
    more += ["--sampler", "euler_ancestral", "--guidance-interval", "0.1", "2", "--keep-pixels"]
    subprocess.run([*program, *more], cwd=tmp_path, capture_output=True, check=True)
    other = np.asarray(Image.open(tmp_path / "new" / "picture.PNG"))
    assert other.shape == picture.shape and (other != picture).any()
    done = subprocess.run([*program, "--num-images", "2"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "a-red-apple-seed-5.png\na-red-apple-seed-6.png\n"


@needs_tensorflow
@needs_runtime
def test_errors_are_one_line(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (folder / "decoder.tflite").unlink()
    assert edge.main(["cat", "--folder", str(folder)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "decoder.tflite is missing" in captured.err


@needs_tensorflow
@needs_runtime
def test_wrong_options(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    told = ["cat", "--folder", str(folder)]
    with pytest.raises(SystemExit):
        edge.main([*told, "--num-steps", "many"])
    for output in ("x.jpg", "x", "pictures/"):
        assert edge.main([*told, "--output", output]) == 1
        assert "--output must be a .png file" in capsys.readouterr().err
    assert edge.main([*told, "--output", "x.png", "--num-images", "2"]) == 1
    assert edge.main([*told, "--num-steps", "0"]) == 1
    assert "`num_steps` must be a whole number from 1 to 1000" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["edge"]


@needs_tensorflow
@needs_runtime
def test_help_lists_the_settings_of_the_manifest(folder, capsys):
    with pytest.raises(SystemExit) as stop:
        edge.main(["--folder", str(folder), "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    for row in json.loads((folder / "manifest.json").read_text())["settings"]:
        assert f"--{row['key'].replace('_', '-')}" in text or row["name"] == "prompts"
