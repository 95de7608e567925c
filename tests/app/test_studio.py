"""What the buttons of the app do, with a tiny preset and without a page."""

import io
import shlex
import threading

import numpy as np
import pytest
from harness import randomize
from PIL import Image

from latentdiff import cli
from latentdiff.app import studio as studios
from latentdiff.app.model import of_preset
from latentdiff.app.studio import Studio
from latentdiff.convert.lora_files import save_lora
from latentdiff.data.image_settings import from_png

FIELDS = {"prompts": "a red cat", "seed": "7", "num_steps": "3", "keep_pixels": False, "sampler": ""}


@pytest.fixture(scope="module")
def studio(pipeline):
    return Studio(of_preset("tiny", pipeline), max_images=9, max_steps=20)


@pytest.fixture
def editor():
    """What the image editor holds: an image of other proportions, without paint."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 4)).astype("uint8")
    pixels[..., 3] = 255
    return {"background": pixels, "layers": [np.zeros((16, 24, 4), "uint8")]}


def run(shown):
    shown = list(shown)
    return shown, shown[-1].made


def pixels(made):
    return np.asarray(Image.open(io.BytesIO(made.png)))


# === Generate ===


def test_the_images_are_those_of_the_pipeline(studio, pipeline):
    shown, made = run(studio.generate("me", FIELDS, num_images=6))
    expected = pipeline.generate("a red cat", seed=7, num_steps=3, num_images=6)
    np.testing.assert_array_equal([pixels(each) for each in made], expected)
    texts = [each.status for each in shown]
    assert texts[0] == "images 1 to 4 of 6 ..." and "images 5 to 6 of 6: step 3 of 3" in texts
    assert texts[-1] == "6 of 6 done"
    assert [len(each.made) for each in shown if each.status.endswith("done")] == [4, 6]


def test_an_image_forms(studio, monkeypatch):
    monkeypatch.setattr("latentdiff.app.watching.PAUSE", 0.0)
    shown, made = run(studio.generate("me", FIELDS))
    previews = [each.preview for each in shown if each.preview is not None]
    assert len(previews) == 3  # two on the way, and the image
    assert len({preview.tobytes() for preview in previews}) == 3
    np.testing.assert_array_equal(previews[-1], pixels(made[0]))


def test_without_a_seed_one_is_drawn_and_written(studio):
    _, made = run(studio.generate("me", {**FIELDS, "seed": ""}))
    (again,) = run(studio.generate("me", {**FIELDS, "seed": str(record_of(made[0])["seed"])}))[1]
    np.testing.assert_array_equal(pixels(again), pixels(made[0]))


def record_of(made):
    return from_png(io.BytesIO(made.png))[0]


def test_begin_with_an_image_and_paint(studio, pipeline, editor):
    from latentdiff import ImageToImage, Inpaint
    from latentdiff.data.images import crop

    image = crop(Image.fromarray(editor["background"]).convert("RGB"), (8, 8))
    (made,) = run(studio.generate("me", {**FIELDS, "strength": "0.6"}, editor=editor))[1]
    expected = ImageToImage.from_pipeline(pipeline).generate(
        "a red cat", images=image, seed=7, num_steps=3, strength=0.6
    )
    np.testing.assert_array_equal(pixels(made), expected)
    editor["layers"][0][:8, 12:] = 255  # of the middle 16 columns, the right half: 8 to 15
    (made,) = run(studio.generate("me", {**FIELDS, "keep_pixels": True}, editor=editor))[1]
    mask = np.zeros((8, 8), bool)
    mask[:4, 4:] = True
    expected = Inpaint.from_pipeline(pipeline).generate(
        "a red cat", images=image, masks=mask, seed=7, num_steps=3, keep_pixels=True
    )
    np.testing.assert_array_equal(pixels(made), expected)
    np.testing.assert_array_equal(pixels(made)[~mask], image[~mask])


def test_adapters(studio, pipeline, tmp_path):
    plain = pixels(run(studio.generate("me", FIELDS))[1][0])
    randomize(pipeline.model.lora.add("own", rank=2)).scale.assign(1.0)
    save_lora(tmp_path / "own.safetensors", pipeline.model, "own")
    expected = pipeline.generate("a red cat", seed=7, num_steps=3)
    pipeline.unload_lora()
    (made,) = run(studio.generate("me", FIELDS, files=[str(tmp_path / "own.safetensors")], scales="1"))[1]
    np.testing.assert_array_equal(pixels(made), expected)
    assert (expected != plain).any() and "own.safetensors:1" in made.command
    (made,) = run(studio.generate("you", FIELDS))[1]  # of another session
    np.testing.assert_array_equal(pixels(made), plain)


# === Stop ===


def test_stop_ends_one_session(studio, monkeypatch):
    steps = []

    def draw(request, arrays, adapters, callback):
        for step in range(1, 100):
            steps.append(step)
            if step == 3:
                studio.stop("you")
                studio.stop("me")
            callback(step, 99, lambda: np.zeros((1, 8, 8, 3), "uint8"))

    monkeypatch.setattr(studio.model, "draw", draw)
    shown, made = run(studio.generate("me", FIELDS, num_images=2))
    assert steps == [1, 2, 3] and made == [] and shown[-1].status == "stopped after 0 of 2"
    assert not studio._stops


def test_a_page_that_goes_away_ends_the_work(studio, monkeypatch):
    threads = threading.active_count()
    shown = studio.generate("me", {**FIELDS, "num_steps": "20"})
    next(shown), next(shown)
    shown.close()
    assert threading.active_count() == threads and not studio._stops


# === Bounds ===


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"prompts": " "}, "prompt must not be empty"),
        ({"num_steps": "21"}, "`num_steps` must be at most 20 here"),
        ({"num_steps": "many"}, "`num_steps` must be a whole number"),
        ({"guidance_scale": "0"}, "`guidance_scale` must be a number from 1"),
        ({"guidance_interval": "3 1"}, "`guidance_interval` must be an interval"),
        ({"strength": "0.5"}, "`strength` needs an image"),
        ({"keep_pixels": True}, "`keep_pixels` needs a painted mask"),
    ],
)
def test_what_is_refused(studio, changes, message):
    with pytest.raises(ValueError, match=message):
        list(studio.generate("me", {**FIELDS, **changes}))


@pytest.mark.parametrize("num_images", [0, 10, 10**9])
def test_numbers_of_images_that_are_refused(studio, num_images):
    with pytest.raises(ValueError, match="images"):
        list(studio.generate("me", FIELDS, num_images=num_images))


def test_a_matrix_of_too_many(studio):
    with pytest.raises(ValueError, match="At most 9 images"):
        list(studio.matrix("me", FIELDS, [("seed", "1\n2\n3\n4"), ("num_steps", "1\n2\n3")]))
    with pytest.raises(ValueError, match="At most 9 images at once. Received: 400000000"):
        list(studio.matrix("me", FIELDS, [("seed", "1\n" * 20_000), ("num_steps", "1\n" * 20_000)]))


# === Matrix ===


def test_matrix(studio, pipeline):
    axes = [("num_steps", "1\n2\n"), ("guidance_scale", "1\n2.5")]
    shown, made = run(studio.matrix("me", FIELDS, axes))
    expected = [
        pipeline.generate("a red cat", seed=7, num_steps=steps, guidance_scale=scale)
        for scale in (1.0, 2.5)
        for steps in (1, 2)
    ]
    np.testing.assert_array_equal([pixels(each) for each in made], expected)
    grid = shown[-1].preview
    windows = np.lib.stride_tricks.sliding_window_view(grid, (8, 8, 3))[:, :, 0]
    assert [(windows == image).all((2, 3, 4)).sum() for image in expected] == [1, 1, 1, 1]  # each stands there once


def test_matrix_of_prompts_shares_a_drawn_seed(studio):
    axes = [("prompts", "a cat\na rocket"), ("", "")]
    _, made = run(studio.matrix("me", {**FIELDS, "prompts": "", "seed": ""}, axes))
    records = [record_of(each) for each in made]
    assert [record["prompt"] for record in records] == ["a cat", "a rocket"]
    assert len({record["seed"] for record in records}) == 1


@pytest.mark.parametrize(
    "axes, message",
    [
        ([("", ""), ("", "")], "needs one setting"),
        ([("seed", "1"), ("seed", "2")], "two that differ"),
        ([("seed", ""), ("", "")], "at least one value"),
        ([("seed", "1\nx"), ("", "")], "`seed` must be a whole number"),
        ([("strength", "0.5"), ("", "")], "`strength` needs an image"),
    ],
)
def test_matrices_that_are_none(studio, axes, message):
    with pytest.raises(ValueError, match=message):
        list(studio.matrix("me", FIELDS, axes))


# === Settings there and back ===


def test_a_png_fills_the_fields(studio, tmp_path):
    given = {"negative_prompts": "blue", "guidance_scale": "2.5", "guidance_interval": "0.1 5", "sampler": "euler"}
    (made,) = run(studio.generate("me", {**FIELDS, **given}))[1]
    (tmp_path / "a.png").write_bytes(made.png)
    fields, rest = studio.read_png(tmp_path / "a.png")
    for name, text in {**FIELDS, **given, "sampler": "euler"}.items():
        if name != "keep_pixels":
            assert fields[name] == text
    assert rest == "preset: tiny"
    np.testing.assert_array_equal(pixels(run(studio.generate("me", fields))[1][0]), pixels(made))


def test_a_command_makes_the_image_again(studio, monkeypatch, tmp_path, pipeline):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("latentdiff.commands.preset.open_preset", lambda name: pipeline)
    for module in ("generate", "preset"):
        monkeypatch.setattr(f"latentdiff.commands.{module}.find_preset", lambda name: name)
    given = {"negative_prompts": "blue 'cat'", "guidance_interval": "0.1 5", "sampler": "euler", "seed": "0"}
    (made,) = run(studio.generate("me", {**FIELDS, **given}))[1]
    words = shlex.split(made.command)
    assert words[0] == "latentdiff"
    assert cli.main([*words[1:], "--output", "a.png"]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open("a.png")), pixels(made))


def test_python_makes_the_image_again(studio, monkeypatch, pipeline):
    monkeypatch.setattr("latentdiff.TextToImage.from_preset", lambda name: pipeline)
    (made,) = run(studio.generate("me", {**FIELDS, "guidance_interval": "0.1 5", "sampler": "euler"}))[1]
    names = {}
    exec(made.python, names)
    np.testing.assert_array_equal(names["image"], pixels(made))


def test_python_with_an_image_makes_it_again(studio, monkeypatch, pipeline, tmp_path, editor):
    from latentdiff import ImageToImage
    from latentdiff.data.images import save_png

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ImageToImage, "from_preset", lambda name: ImageToImage.from_pipeline(pipeline))
    editor = {name: value[:8, :8] if name == "background" else [] for name, value in editor.items()}
    save_png("IMAGES.png", editor["background"][..., :3])
    (made,) = run(studio.generate("me", FIELDS, editor=editor))[1]
    names = {}
    exec(made.python, names)
    np.testing.assert_array_equal(names["image"], pixels(made))


def test_only_what_differs_is_written(studio):
    (made,) = run(studio.generate("me", {"prompts": "a cat", "seed": "0"}))[1]
    assert made.command == "latentdiff generate --preset tiny 'a cat' --seed 0"


def test_the_batch_is_small():
    assert studios.BATCH_SIZE <= 4
