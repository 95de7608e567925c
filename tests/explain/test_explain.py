import importlib
import json
import warnings

import numpy as np
import pytest
from harness import first_fast
from PIL import Image

from latentdiff import cli, explain
from latentdiff.commands import preset as preset_command
from latentdiff.explain import reverse
from latentdiff.explain.lesson import Lesson
from latentdiff.explain.real_images import RealImages
from latentdiff.settings.prompt_syntax import Part, parse

pytest.importorskip("matplotlib")
PROMPTS = ["a red apple", "a cat", "a rocket"]


@pytest.fixture(scope="module")
def preset(pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets") / "tiny"
    pipeline.save_to_preset(folder)
    return folder


def real_pictures(count=12):
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), "uint8")
    names = [PROMPTS[row % 3] for row in range(count)]
    return RealImages(images, names, names, np.arange(count) % 2 == 0)


def mean_colours(images):
    """Stands in for a network of features."""
    return images.astype("float32").reshape(len(images), -1, 3)[:, ::7].reshape(len(images), -1)


@pytest.fixture
def lesson(pipeline, tmp_path):
    return Lesson(pipeline, tmp_path, real_pictures(), mean_colours, PROMPTS, count=4)


@pytest.mark.parametrize("name", first_fast(explain.FIGURES, 2))
def test_each_figure_is_drawn_with_its_numbers(name, lesson, baselines_record, tmp_path, monkeypatch):
    if name == "steps":
        monkeypatch.setattr("latentdiff.explain.steps.COUNTS", (1, 2, 4))
    files = explain.draw(lesson, name)
    assert {file.suffix for file in files} >= {".png", ".json"} and all(file.parent == tmp_path for file in files)
    picture = np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"))
    assert picture.shape[1] > 700 and (picture < 250).mean() > 0.05
    assert json.loads((tmp_path / f"{name}.json").read_text())


@pytest.mark.parametrize("name", first_fast(["unseen", "guidance", "forward", "reverse"]))
def test_a_model_alone_is_enough(name, pipeline, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        explain.draw(Lesson(pipeline, tmp_path, prompts=PROMPTS), name)
    left_out = [str(warning.message) for warning in caught if "--metrics" in str(warning.message)]
    assert len(left_out) == (name in ("guidance", "unseen"))


@pytest.mark.slow
@pytest.mark.parametrize("caption", first_fast(["alarm clock (10:30)", "a poster (2:3)", "red:1 | blue"]))
def test_captions_of_pictures_are_plain_text(caption, pipeline, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Lesson, "generate", spy(Lesson.generate, asked))
    monkeypatch.setattr(reverse, "guess", spy(reverse.guess, asked))
    real = real_pictures()
    real = RealImages(real.images, [caption] * 12, real.labels, real.training)
    lesson = Lesson(pipeline, tmp_path, real, mean_colours, PROMPTS, count=4)
    for name, key in (("guidance", "prompts"), ("reverse", "captions")):
        asked.clear()
        explain.draw(lesson, name)
        assert asked and all(parse(prompt) == [Part(1.0, ((caption, 1.0),))] for prompt in asked)
        assert set(json.loads((tmp_path / f"{name}.json").read_text())[key]) == {caption}


def spy(function, asked):
    """`function` that also keeps the prompts among its arguments, a sequence of str."""

    def spying(*args, **settings):
        asked.extend(next(arg for arg in args if isinstance(arg, (list, tuple)) and isinstance(arg[0], str)))
        return function(*args, **settings)

    return spying


def test_every_file_is_a_figure_or_shared():
    shared = {"lesson", "real_images", "style"}
    files = {path.stem for path in importlib.resources.files(explain).iterdir() if path.suffix == ".py"}
    assert files == {*explain.FIGURES, *shared, "__init__"}


def test_unknown_figure(lesson):
    with pytest.raises(ValueError, match="`name` must be one of.*Received: name='sideways'"):
        explain.draw(lesson, "sideways")


# === The command ===


def test_the_command_writes_what_it_prints(pipeline, preset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(preset_command, "open_preset", lambda name: pipeline)
    Image.fromarray(real_pictures().images[0]).save(tmp_path / "a-cat.png")
    (tmp_path / "a-cat.txt").write_text("a cat, (10:30)")
    arguments = [
        "--preset",
        preset,
        "--data",
        tmp_path / "a-cat.png",
        "--output",
        tmp_path / "out",
        "--only",
        "forward",
    ]
    assert cli.main(["explain", *map(str, arguments)]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / f"forward.{kind}") for kind in ("png", "json")]
    assert json.loads((tmp_path / "out/forward.json").read_text())["caption"] == "a cat, (10:30)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "--data must exist. Received: nowhere"),
        (["--metrics", "nowhere"], "--metrics nowhere is not there"),
        (["--preset", "nowhere"], "nowhere"),
        (["--count", "2"], "at least 4"),
        (["--only", "sideways"], "sideways"),
    ],
)
def test_wrong_usage_is_found_before_any_work(arguments, message, tmp_path, capsys):
    try:
        code = cli.main(["explain", "--output", str(tmp_path / "out"), *arguments])
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_matplotlib_is_asked_for_by_name(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(["explain", "--output", str(tmp_path)]) == 2
    assert 'pip install "latentdiff[docs]"' in capsys.readouterr().err


def test_dollar_signs_are_no_formulas(lesson, tmp_path):
    from latentdiff.explain import style

    with style.lecture_style():
        figure = style.new_figure(2, "It costs $5 or $6_")
        style.show_tiles(figure.add_subplot(), lesson.real.images[None, :2], captions=["$1_", "a $x^$ b"])
        assert style.save_figure(figure, tmp_path / "figure.png").is_file()
