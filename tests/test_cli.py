import io
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import latentdiff
from latentdiff import cli
from latentdiff.commands import generate
from latentdiff.commands import preset as preset_command
from latentdiff.data import images
from latentdiff.diffusion import noise, samplers
from latentdiff.models.pixels import to_uint8
from latentdiff.settings import table

SETTINGS = ["prompt", "negative_prompt", "seed", "num_steps", "guidance_scale"]
SETTINGS += ["guidance_rescale", "guidance_interval", "sampler", "preset"]


@pytest.fixture(scope="module")
def preset(pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets") / "tiny"
    pipeline.save_to_preset(folder, max_shard_bytes=60_000)
    return folder


@pytest.fixture
def run(pipeline, preset, monkeypatch, tmp_path, capsys):
    """Runs `latentdiff generate` in an empty folder, with a preset that is open already; gives code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(preset_command, "open_preset", lambda name: pipeline)

    def run(*arguments, command="generate"):
        given = [*map(str, arguments)]
        if command == "generate" and "--preset" not in given:
            given += ["--preset", str(preset)]
        try:
            code = cli.main([command, *given])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


def shell(*arguments, cwd=None):
    """Runs Python in a process of its own, with this package and without what other tests set for TensorFlow."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment["PYTHONPATH"] = str(Path(latentdiff.__file__).parents[1])
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def open_image(path):
    """The image in a file, which is closed again."""
    return Image.open(io.BytesIO(Path(path).read_bytes()))


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def refused(result, *words, code=2):
    """Whether the result is one line of error that has these words, and nothing else."""
    assert result[:2] == (code, "")
    assert result[2].startswith("latentdiff: error: ") and result[2].count("\n") == 1
    for word in words:
        assert str(word) in result[2]


# === Start-up ===


def test_nothing_heavy_is_imported_before_all_is_checked(preset, tmp_path):
    commands = [
        ["--help"],
        ["--version"],
        ["generate", "--help"],
        ["generate", "a cat", "--num-steps", "0"],
        ["generate", "a cat", "--negative-prompt", "red:1 | blue", "--preset", str(preset)],
        ["generate", "a cat", "--preset", "no-such-preset"],
        ["generate", "a cat", "--preset", str(preset), "--output", "/dev/null/out"],
        ["generate", "--prompts-file", str(tmp_path / "missing.json")],
        ["info", str(preset)],
    ]
    code = f"""
import sys
from latentdiff import cli
for command in {commands}:
    try:
        cli.main(command)
    except SystemExit:
        pass
print(sorted({{"keras", "tensorflow", "jax", "numpy", "PIL", "h5py"}} & set(sys.modules)), file=sys.stderr)
"""
    assert shell("-c", code).stderr.splitlines()[-1] == "[]"


def test_help_is_quick():
    times = []
    for _ in range(3):
        start = time.perf_counter()
        result = shell("-m", "latentdiff", "--help")
        times.append(time.perf_counter() - start)
    assert "generate" in result.stdout and "info" in result.stdout
    assert min(times) < 0.5


def test_version(run):
    assert run(command="--version")[1] == f"latentdiff {latentdiff.__version__}\n"


def test_names_are_those_of_the_package():
    assert sorted(table.SAMPLERS) == sorted(samplers.SAMPLERS)


def test_public_names_load_when_asked_for():
    for name in latentdiff.__all__:
        assert getattr(latentdiff, name) is not None
        assert name in dir(latentdiff)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        latentdiff.Nothing  # noqa: B018


@pytest.mark.slow
def test_a_saved_model_finds_its_classes(preset):
    """Also where none of the public names was asked for: when a preset is loaded, and when Keras is there before us."""
    code = f"""
import sys
from latentdiff.presets.preset import load_preset
load_preset({str(preset)!r})
for name in [name for name in sys.modules if name.partition(".")[0] == "latentdiff"]:
    del sys.modules[name]
import latentdiff
assert "latentdiff.models.unet" in sys.modules
"""
    result = shell("-c", code)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_from_a_shell(run, preset, tmp_path):
    """A fresh process says nothing but the file name, and makes the same bytes as any other."""
    arguments = ["generate", "a red apple", "--preset", str(preset), "--seed", "7", "--output"]
    result = shell("-m", "latentdiff", *arguments, "shell.png", cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "shell.png\n", "")
    assert run(*arguments[1:], "here.png") == (0, "here.png\n", "")
    assert (tmp_path / "shell.png").read_bytes() == (tmp_path / "here.png").read_bytes()


# === Images ===


def test_one_picture_is_a_file_with_its_settings(run, pipeline, preset, tmp_path):
    assert run("A red apple, 3D!", "--seed", 7) == (0, "a-red-apple-3d-seed-7.png\n", "")
    assert list(files(tmp_path)) == ["a-red-apple-3d-seed-7.png"]
    path = tmp_path / "a-red-apple-3d-seed-7.png"
    np.testing.assert_array_equal(np.asarray(open_image(path)), pipeline.generate("A red apple, 3D!", seed=7))
    expected = ["A red apple, 3D!", "", "7", "3", "2.0", "0.0", "[0.0, 1e+30]", "ddim", str(preset)]
    told = images.read_settings(path)
    foreign = told.pop("parameters")  # for other programs
    assert told == dict(zip(SETTINGS, expected, strict=True))
    assert foreign.startswith(
        "A red apple, 3D!\nSteps: 3, CFG scale: 2, Seed: 7, Sampler: DDIM, Size: 8x8, Model: tiny"
    )


def test_all_options_reach_the_picture(run, pipeline, tmp_path):
    options = ["--num-steps", 2, "--guidance-scale", 5, "--negative-prompt", "green", "--sampler", "ddpm", "--seed", 3]
    assert run("a cat", *options, "--output", "new/folder/cat.png") == (0, "new/folder/cat.png\n", "")
    settings = {"num_steps": 2, "guidance_scale": 5.0, "sampler": "ddpm", "seed": 3}
    expected = pipeline.generate("a cat", negative_prompts="green", **settings, callback=lambda *step: None)
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "new/folder/cat.png")), expected)


def test_tiles(run, pipeline, tmp_path):
    assert run("a cat", "--seed", 3, "--tile-size", 4, "--output", "cat.png")[0] == 0
    tiled = latentdiff.TextToImage.from_pipeline(pipeline, tile_size=4)
    expected = tiled.generate("a cat", seed=3, callback=lambda *step: None)
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "cat.png")), expected)
    refused(run("a cat", "--tile-size", 3), "`tile_size` must be a multiple of 2 of at least 4")


@pytest.mark.parametrize("high, written", [("2", 2.0), ("inf", 1e30)])  # JSON has no infinity
def test_limits_of_guidance_are_told_where_there_are_any(high, written, run, pipeline, tmp_path):
    limits = ["--guidance-rescale", 0.7, "--guidance-interval", 0.5, high]
    assert run("a cat", *limits, "--seed", 3, "--output", "out")[0] == 0
    (record,) = manifest(tmp_path / "out")
    assert record["guidance_rescale"] == 0.7 and record["guidance_interval"] == [0.5, written]
    limits = {"guidance_rescale": 0.7, "guidance_interval": (0.5, float(high))}
    expected = pipeline.generate("a cat", seed=3, **limits, callback=lambda *step: None)
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "out" / record["file"])), expected)


@pytest.fixture
def photo(tmp_path):
    """An image twice as large as the model's."""
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype="uint8")
    Image.fromarray(picture).save(tmp_path / "photo.png")
    mask = np.zeros((16, 16), "uint8")
    mask[8:, 4:10] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(mask[:14]).save(tmp_path / "low.png")
    Image.fromarray(mask.astype("float32")).save(tmp_path / "float.tiff")
    (tmp_path / "text.png").write_text("no image")
    return images.load_picture(tmp_path / "photo.png", (8, 8))


def test_a_picture_to_begin_with(run, pipeline, photo, tmp_path):
    options = ["--init-image", "photo.png", "--seed", 3, "--num-images", 2, "--output", "out"]
    assert run("a cat", *options, "--strength", 0.5)[0] == 0
    records = manifest(tmp_path / "out")
    assert [(record["init_image"], record["strength"]) for record in records] == [("photo.png", 0.5)] * 2
    editor = latentdiff.ImageToImage.from_pipeline(pipeline)
    inputs, settings = {"images": photo, "prompts": "a cat"}, {"num_images": 2, "callback": lambda *step: None}
    expected = editor.generate(**inputs, strength=0.5, seed=3, **settings)
    for picture, record in zip(expected, records, strict=True):
        np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "out" / record["file"])), picture)
    assert images.read_settings(tmp_path / "out" / records[0]["file"])["strength"] == "0.5"
    assert run("a cat", *options[:-1], "other")[0] == 0
    assert manifest(tmp_path / "other")[0]["strength"] == 0.8


def test_a_part_of_a_picture(run, pipeline, photo, tmp_path):
    options = ["--init-image", "photo.png", "--mask", "mask.png", "--seed", 3]
    assert run("a cat", *options, "--output", "plain.png")[0] == 0
    assert run("a cat", *options, "--output", "kept.png", "--keep-pixels")[0] == 0
    told = images.read_settings("kept.png")
    assert (told["mask"], told["keep_pixels"], told["strength"]) == ("mask.png", "true", "1.0")
    plain, kept = (np.asarray(open_image(name)) for name in ("plain.png", "kept.png"))
    mask = images.load_mask("mask.png", (8, 8))
    assert mask.sum() == 12
    np.testing.assert_array_equal(kept, np.where(mask[..., None], plain, photo))
    editor = latentdiff.Inpaint.from_pipeline(pipeline)
    inputs = {"images": photo, "masks": mask, "prompts": "a cat"}
    np.testing.assert_array_equal(plain, editor.generate(**inputs, seed=3, callback=lambda *step: None))


def test_trajectory_of_an_edited_picture(run, pipeline, photo):
    """It begins with the image under the noise that was really put on it."""
    options = ["--init-image", "photo.png", "--strength", 0.5, "--num-steps", 10, "--seed", 3, "--output", "cat.png"]
    assert run("a cat", *options, "--trajectory", "cat.gif")[0] == 0
    gif = open_image("cat.gif")
    assert gif.n_frames == 6
    model, begin = pipeline.model, (np.array([10], "int32"), np.array([5.0], "float32"))
    latents, draws = model.autoencoder.encode(photo[None]), noise.normal([3], pipeline.latent_shape)
    noisy = samplers.get("ddim").start(model.noise_schedule, latents, draws, *begin)
    first = np.asarray(to_uint8(model.autoencoder.decode(noisy)))[0]
    assert np.abs(np.asarray(gif.convert("RGB"), int) - first).mean() < 20
    assert run("a cat", *options, "--strength", 0, "--trajectory", "cat.gif")[0] == 0
    assert open_image("cat.gif").n_frames == 1  # frames that do not differ are joined


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--strength", "0.5"], ["--strength needs --init-image"]),
        (["--strength", "0"], ["--strength needs --init-image"]),
        (["--mask", "mask.png"], ["--mask needs --init-image"]),
        (["--init-image", "photo.png", "--keep-pixels"], ["--keep-pixels needs --mask"]),
        (["--init-image", "photo.png", "--strength", "1.5"], ["--strength", "from 0 to 1", "'1.5'"]),
        (["--init-image", "photo.png", "--mask", "low.png"], ["--mask", "16 x 16", "16 x 14"]),
        (["--init-image", "none.png"], ["--init-image none.png", "No such file"]),
        (["--init-image", "text.png"], ["--init-image", "text.png is no image"]),
        (["--init-image", "low.png"], ["--init-image", "proportions of 8 x 8", "16 x 14"]),
        (["--init-image", "photo.png", "--mask", "text.png"], ["--mask", "text.png is no image"]),
        (["--init-image", "photo.png", "--mask", "float.tiff"], ["--mask: float.tiff can't be decoded", "mode 'F'"]),
    ],
)
def test_wrong_pictures(run, photo, arguments, words):
    refused(run("a cat", "--seed", 7, *arguments), *words)


@pytest.mark.parametrize("options", [["--init-image"], ["--init-image", "photo.png", "--mask"]])
def test_a_picture_that_pillow_finds_too_large(run, photo, options, tmp_path, monkeypatch):
    Image.new("L", (23, 23)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 16 * 16)
    refused(run("a cat", "--seed", 7, *options, "huge.png"), f"{options[-1]}: huge.png can't be decoded", "529")


def test_weights_in_prompts(run, pipeline):
    assert run("(red:2) apple:3 | a cat:1", "--seed", 3)[1] == "red-2-apple-3-a-cat-1-seed-3.png\n"
    picture = np.asarray(open_image("red-2-apple-3-a-cat-1-seed-3.png"))
    expected = pipeline.generate("(red:2) apple:3 | a cat:1", seed=3, callback=lambda *step: None)
    np.testing.assert_array_equal(picture, expected)


def test_several_pictures_are_a_folder_with_a_manifest(run, preset, tmp_path):
    command = ["a red apple", "a smiling cat", "--num-images", 2, "--seed", 7, "--output", "out"]
    code, out, _ = run(*command)
    names = [f"{slug}-seed-{seed}.png" for slug in ("a-red-apple", "a-smiling-cat") for seed in (7, 8)]
    assert code == 0 and out.split() == [f"out/{name}" for name in names]
    assert sorted(files(tmp_path / "out")) == sorted([*names, "manifest.json"])
    records = manifest(tmp_path / "out")
    assert [list(record) for record in records] == [["file", *SETTINGS]] * 4
    assert [(record["file"], record["prompt"], record["seed"]) for record in records] == [
        (names[0], "a red apple", 7),
        (names[1], "a red apple", 8),
        (names[2], "a smiling cat", 7),
        (names[3], "a smiling cat", 8),
    ]
    assert records[0]["preset"] == str(preset) and records[0]["sampler"] == "ddim"
    before = files(tmp_path)
    run(*command)
    assert files(tmp_path) == before
    run(*command[:-1], "other")
    assert files(tmp_path / "other") == files(tmp_path / "out")


def test_default_folder(run, tmp_path):
    assert run("a cat", "--num-images", 2, "--seed", 7)[0] == 0
    assert run("a cat", "an apple", "--seed", 7)[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-cat-and-1-more-seed-7", "a-cat-seed-7"]


def test_what_is_there_is_kept(run, tmp_path):
    run("a cat", "--seed", 7)
    first = files(tmp_path)
    assert run("a cat", "--seed", 7)[1] == "a-cat-seed-7.png\n"
    assert files(tmp_path) == first
    assert run("a cat", "--seed", 7, "--num-steps", 2)[1] == "a-cat-seed-7-2.png\n"
    assert files(tmp_path)["a-cat-seed-7.png"] == first["a-cat-seed-7.png"]
    # A name that was asked for is another matter.
    run("a cat", "--seed", 8, "--output", "a-cat-seed-7.png")
    assert images.read_settings("a-cat-seed-7.png")["seed"] == "8"


def test_a_folder_is_added_to(run, tmp_path):
    for steps in (3, 2):
        run("a cat", "a cat!", "--seed", 7, "--num-steps", steps, "--output", "out")
    records = manifest(tmp_path / "out")
    assert [record["file"] for record in records] == [f"a-cat-seed-7{end}.png" for end in ("", "-2", "-3", "-4")]
    assert [record["num_steps"] for record in records] == [3, 3, 2, 2]


def test_random_seed_is_told_and_kept(run, tmp_path):
    code, out, err = run("a cat", "--output", "random.png")
    seed = images.read_settings("random.png")["seed"]
    assert (code, err) == (0, f"latentdiff: random seed {seed}\n")
    run("a cat", "--output", "again.png", "--seed", seed)
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "random.png").read_bytes()
    run("a cat", "--output", "random.png")
    assert images.read_settings("random.png")["seed"] != seed


def test_prompts_file(run, tmp_path):
    entry = {"prompt": "a cat", "seed": 9, "negative_prompt": "red", "num_steps": 2, "guidance_scale": 1}
    entry |= {"guidance_rescale": 0.5, "guidance_interval": [0.1, 4]}
    (tmp_path / "prompts.json").write_text(json.dumps(["an apple", entry]))
    arguments = ["a rocket", "--prompts-file", "prompts.json", "--seed", 7, "--guidance-scale", 3, "--output", "out"]
    assert run(*arguments)[0] == 0
    records = manifest(tmp_path / "out")
    everywhere = [0.0, 1e30]
    assert [list(record.values())[1:8] for record in records] == [
        ["a rocket", "", 7, 3, 3.0, 0.0, everywhere],
        ["an apple", "", 7, 3, 3.0, 0.0, everywhere],
        ["a cat", "red", 9, 2, 1.0, 0.5, [0.1, 4.0]],
    ]


def test_no_seed_is_drawn_where_all_are_given(run, tmp_path):
    (tmp_path / "prompts.json").write_text('[{"prompt": "a cat", "seed": 9}]')
    assert run("--prompts-file", "prompts.json") == (0, "a-cat-seed-9.png\n", "")


def test_grid(run, tmp_path):
    _, out, _ = run("a cat", "--num-images", 3, "--seed", 7, "--grid", "--output", "out")
    assert out.split()[-1] == "out/grid.png"
    assert open_image("out/grid.png").size == (18, 18)
    assert len(manifest(tmp_path / "out")) == 3
    assert run("a cat", "--num-images", 3, "--seed", 7, "--output", "grid.png") == (0, "grid.png\n", "")
    np.testing.assert_array_equal(open_image("grid.png"), open_image("out/grid.png"))
    told = json.loads(images.read_settings("grid.png")["pictures"])
    assert [record["seed"] for record in told] == [7, 8, 9]
    assert run("a cat", "--seed", 7, "--grid")[1].split() == ["a-cat-seed-7/a-cat-seed-7.png", "a-cat-seed-7/grid.png"]


def test_trajectory(run, tmp_path):
    """From noise to the image; which it doesn't change."""
    run("a cat", "an apple", "--seed", 7, "--output", "plain")
    out = run("a cat", "an apple", "--seed", 7, "--output", "out", "--trajectory", "cat.gif")[1]
    assert out.split()[-1] == "cat.gif"
    assert files(tmp_path / "out") == files(tmp_path / "plain")
    gif = open_image("cat.gif")
    assert gif.n_frames == 4
    gif.seek(3)
    picture = np.asarray(open_image("out/a-cat-seed-7.png"), int)
    assert np.abs(np.asarray(gif.convert("RGB"), int) - picture).mean() < 4


def test_long_trajectory_is_thinned(run):
    run("a cat", "--seed", 7, "--num-steps", 120, "--output", "cat.png", "--trajectory", "cat.gif")
    assert 20 < open_image("cat.gif").n_frames <= 41  # frames that don't differ are joined


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_bar(run, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(generate, "BATCH_SIZE", 1)
    run("a cat", "an apple", "--seed", 7, "--output", "out")
    shown = sys.stderr.getvalue().split("\r")
    assert sum("| 6/6 [" in line for line in shown) == 1 and any("| 1/6 [" in line for line in shown)
    assert not shown[-1].strip()  # an empty line is left


@pytest.mark.parametrize("term", ["", "dumb"])
def test_no_progress_bar_where_the_terminal_knows_plain_lines_only(run, monkeypatch, term):
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stderr", Terminal())
    run("a cat", "--seed", 7, "--output", "cat.png")
    assert sys.stderr.getvalue() == ""


# === Trouble ===


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], ["no prompt"]),
        (["  "], ["must not be empty"]),
        (["a", "--guidance-scale", "0.5"], ["--guidance-scale", "0.5"]),
        (["a", "--guidance-scale", "nan"], ["--guidance-scale", "nan"]),
        (["a", "--num-steps", "0"], ["--num-steps", "at least 1", "'0'"]),
        (["a", "--num-steps", "-4"], ["--num-steps", "'-4'"]),
        (["a", "--num-steps", "many"], ["--num-steps", "whole number", "'many'"]),
        (["a", "--num-steps", "1001"], ["`num_steps`", "1001"]),
        (["a", "--num-images", "0"], ["--num-images", "'0'"]),
        (["a", "--seed", "-1"], ["--seed", "'-1'"]),
        (["a", "--seed", "2147483648"], ["--seed", "2147483647"]),
        (["a", "--seed", "2147483647", "--num-images", "2"], ["`num_images`", "num_images=2", "2147483647"]),
        (["a", "--guidance-rescale", "2"], ["--guidance-rescale", "'2'"]),
        (["a", "--guidance-interval", "3", "1"], ["`guidance_interval`", "LOW < HIGH", "[3.0, 1.0]"]),
        (["a", "--guidance-interval", "3"], ["--guidance-interval"]),
        (["a", "--original-size", "3"], ["--original-size"]),
        (["a", "--original-size", "3", "x"], ["--original-size", "'x'"]),
        (["a", "--original-size", "3", "0"], ["`original_size`", "two whole numbers from 1", "[3, 0]"]),
        (["a", "--crop-top-left", "3", "5"], ["`crop_top_left` goes with `image_sizes`, not with this TextToImage"]),
        (["a", "--sampler", "magic"], ["--sampler", "magic", "ddim"]),
        (["a", "--preset", "no-such-preset"], ["no-such-preset", "saved_models"]),
        (["a", "--trajectory", "cat.png"], ["--trajectory", ".gif", "cat.png"]),
        (["a", "--output", "cat.jpg"], ["--output", ".png", "cat.jpg"]),
        (["a", "--output", "cat.AVIF"], ["--output", ".png", "cat.AVIF"]),
        (["a", "--output", "cat.jfif"], ["--output", ".png", "cat.jfif"]),
        (["a\udce9"], ["`prompts` must be valid Unicode text"]),
        (["a", "--output", ""], ["--output", "empty"]),
        (["a", "--output", "/dev/null/out"], ["/dev/null is not a folder"]),
        (["a", "--output", "/dev/null/cat.png"], ["/dev/null is not a folder"]),
        (["a", "--output", "/proc/latentdiff/out"], ["/proc/latentdiff/out"]),
        (["a", "--trajectory", "/dev/null/cat.gif"], ["/dev/null is not a folder"]),
        (["a", "--num", "3"], ["--num"]),
        (["(red:20) a"], ["`prompts` has a weight outside [0, 10]", "(red:20)", "as it stands"]),
        (["a", "--negative-prompt", "a:1 | b"], ["`negative_prompts` has", "no weight, 'b'"]),
        (["(red:2) a", "--server", "localhost:1"], ["--server", "neither weights nor mixtures", "(red:2) a"]),
        (["a", "--negative-prompt", "a:1 | b:2", "--server", "localhost:1"], ["`negative_prompts`", "nor mixtures"]),
        (
            ["a", "--sampler", "ddim", "--server", "localhost:1"],
            ["--server", "`sampler` is no input of a served model"],
        ),
    ],
)
def test_wrong_arguments(run, tmp_path, arguments, words):
    refused(run(*arguments, *([] if "--seed" in arguments else ["--seed", 7])), *words)
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    "text, words",
    [
        ("[", ["is not JSON"]),
        ("\xff", ["is not JSON"]),
        ("[]", ["at least one prompt"]),
        ('{"prompt": "a"}', ["must hold a list"]),
        ('["a", 3]', ["entry 2", "Received: 3"]),
        ('["a", ""]', ["entry 2", "must not be empty"]),
        ('[{"seed": 3}]', ["entry 1", "`prompt`"]),
        ('[{"prompt": 3}]', ["entry 1", "`prompts`", "Unicode text"]),
        ('[{"prompt": "a", "steps": 3}]', ["entry 1", "['steps']", "num_steps"]),
        ('[{"prompt": "a", "num_steps": 0}]', ["entry 1", "`num_steps`", "at least 1"]),
        ('[{"prompt": "a", "negative_prompt": "(b:20)"}]', ["entry 1: `negative_prompts` has a weight outside"]),
        ('[{"prompt": "a", "num_steps": 2.5}]', ["`num_steps`", "2.5"]),
        ('[{"prompt": "a", "num_steps": true}]', ["`num_steps`", "True"]),
        ('[{"prompt": "a", "guidance_scale": 0.9}]', ["`guidance_scale`", "0.9"]),
        ('[{"prompt": "a", "seed": -1}]', ["`seed`", "-1"]),
        ('[{"prompt": "a", "seed": null}]', ["`seed`", "None"]),
        ('[{"prompt": "a", "negative_prompt": ["b"]}]', ["`negative_prompts`"]),
    ],
)
def test_wrong_prompts_file(run, tmp_path, text, words):
    (tmp_path / "prompts.json").write_bytes(text.encode("latin-1"))
    refused(run("--prompts-file", "prompts.json", "--seed", 7), "prompts.json", *words)
    assert list(files(tmp_path)) == ["prompts.json"]


def test_prompts_file_that_is_not_there(run, tmp_path):
    refused(run("--prompts-file", "none.json"), "none.json can't be read: No such file")
    refused(run("--prompts-file", tmp_path), "can't be read: Is a directory")


def test_wrong_output(run, tmp_path):
    (tmp_path / "folder.gif").mkdir()
    (tmp_path / "text").write_text("kept")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text('{"name": "a web page"}')
    before = files(tmp_path)
    refused(run("a", "--seed", 7, "--output", "text"), "text is not a folder")
    refused(run("a", "--seed", 7, "--trajectory", "folder.gif"), "it is a folder")
    refused(run("a", "--seed", 7, "--output", "other"), "manifest.json", "choose another folder")
    assert files(tmp_path) == before


def test_pictures_made_before_a_failure_are_kept(run, pipeline, monkeypatch, tmp_path):
    calls = []

    def fails_later(*args, **kwargs):
        calls.append(args)
        if len(calls) > 2:
            raise MemoryError
        return type(pipeline).draw(pipeline, *args, **kwargs)

    monkeypatch.setattr(generate, "BATCH_SIZE", 1)
    monkeypatch.setattr(pipeline, "draw", fails_later, raising=False)
    code, out, err = run("a cat", "--num-images", 4, "--seed", 7, "--output", "out", "--grid")
    assert (code, err) == (1, "latentdiff: error: MemoryError\n")
    assert sorted(files(tmp_path / "out")) == ["a-cat-seed-7.png", "a-cat-seed-8.png", "grid.png", "manifest.json"]
    assert [record["seed"] for record in manifest(tmp_path / "out")] == [7, 8]
    assert out.split() == ["out/a-cat-seed-7.png", "out/a-cat-seed-8.png", "out/grid.png"]


def test_interrupt(run, pipeline, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "draw", interrupted, raising=False)
    assert run("a cat", "--seed", 7) == (130, "", "latentdiff: error: interrupted\n")


def test_warnings_take_one_line(run, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        code, _, err = run("a red cat " * 9, "--seed", 7, "--num-images", 2, "--output", "out")
    assert code == 0 and len(manifest(tmp_path / "out")) == 2
    assert err.startswith("latentdiff: warning: The prompt") and "was cut before" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "file, damage",
    [
        ("model.weights.h5.001", "missing"),
        ("model.weights.h5.001", "truncated"),
        ("config.json", "truncated"),
        ("task.json", "missing"),
        ("assets/tokenizer/vocabulary.txt", "missing"),
    ],
)
def test_damaged_preset(preset, tmp_path, monkeypatch, capsys, file, damage):
    shutil.copytree(preset, tmp_path / "preset")
    path = tmp_path / "preset" / file
    content = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    monkeypatch.chdir(tmp_path)
    code = cli.main(["generate", "a cat", "--preset", "preset", "--seed", "7"])
    refused((code, *capsys.readouterr()), path.name, code=1)
    assert not list(tmp_path.glob("*.png"))


# === info ===


def test_info(run, preset, tmp_path):
    code, out, err = run(preset, command="info")
    assert (code, err) == (0, "")
    assert out.startswith("# tiny\n\nThis preset has no model card.")
    assert "- image_size: [8, 8]" in out and "- parameter_count: " in out
    shutil.copytree(preset, tmp_path / "preset")
    (tmp_path / "preset" / "README.md").write_text("# A card\n\nmade by hand\n")
    assert run("preset", command="info")[1].startswith("# A card\n\nmade by hand\n\n## Settings\n\n- folder: preset\n")


def test_info_in_trouble(run, preset, tmp_path):
    refused(run("no-such-preset", command="info"), "no-such-preset")
    shutil.copytree(preset, tmp_path / "preset")
    (tmp_path / "preset" / "task.json").write_text("{")
    refused(run("preset", command="info"), "task.json is not JSON", code=1)
    (tmp_path / "preset" / "task.json").unlink()
    refused(run("preset", command="info"), "task.json is missing", code=1)


def test_info_of_an_image_is_an_entry_of_a_prompts_file(run, tmp_path):
    """What was asked for, from the record of this package; it makes the same image again."""
    prompt = "(red:1.3) äpple 🍎, \\(3d\\)"
    assert run(prompt, "--negative-prompt", "blue", "--seed", 7, "--output", "made.png")[0] == 0
    code, out, err = run("made.png", command="info")
    assert (code, err) == (0, "") and out.startswith("# made.png\n\n{")
    end = out.index("\n}") + 2
    entry = json.loads(out[out.index("{") : end])
    assert (entry["prompt"], entry["negative_prompt"], entry["seed"], entry["num_steps"]) == (prompt, "blue", 7, 3)
    assert "- sampler: ddim\n" in out[end:]
    (tmp_path / "prompts.json").write_text(json.dumps([entry]), encoding="utf-8")
    assert run("--prompts-file", "prompts.json", "--output", "again.png")[0] == 0
    made, again = (np.asarray(open_image(tmp_path / name)) for name in ("made.png", "again.png"))
    np.testing.assert_array_equal(made, again)


def test_info_of_an_image_of_another_program(run, tmp_path):
    text = "a (red) äpple\nNegative prompt: blue\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 8x8"
    picture = np.zeros((8, 8, 3), "uint8")
    images.save_png(tmp_path / "other.png", picture, {"parameters": text})
    code, out, _ = run("other.png", command="info")
    entry = {"prompt": "a (red:1.1) äpple", "num_steps": 20, "guidance_scale": 7.0, "seed": 5}
    assert code == 0 and json.loads(out[out.index("{") : out.index("}") + 1]) == {**entry, "negative_prompt": "blue"}
    assert out.endswith("\n- sampler: euler_ancestral\n- Size: 8x8\n")
    images.save_png(tmp_path / "none.png", picture)
    refused(run("none.png", command="info"), "none.png has no settings of an image in it", code=1)
    (tmp_path / "text.png").write_text("no image")
    refused(run("text.png", command="info"), "text.png is no PNG that can be read", code=1)
    refused(run("gone.png", command="info"), "gone.png must be a file that exists")
