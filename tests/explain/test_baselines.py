import json

import numpy as np
import pytest
from PIL import Image

from latentdiff import explain
from latentdiff.explain import baselines
from latentdiff.explain.lesson import Lesson

pytest.importorskip("matplotlib")


class NoModel(Lesson):
    """A lesson that has nothing but an output folder, and keeps the figure."""

    def __init__(self, output):
        self.output = output

    def save(self, figure, *args, **options):
        self.figure = figure
        return super().save(figure, *args, **options)


@pytest.fixture
def drawn(baselines_record, tmp_path):
    lesson = NoModel(tmp_path / "out")
    lesson.files = explain.draw(lesson, "baselines")
    return lesson


def texts(labels):
    return [label.get_text().replace("\n", " ") for label in labels]


def test_the_numbers_written_are_those_of_the_record(drawn, baselines_record):
    assert drawn.files == [drawn.output / "baselines.png", drawn.output / "baselines.json"]
    written, record = (json.loads((path / "baselines.json").read_text()) for path in (drawn.output, baselines_record))
    assert written == record


def test_each_maker_has_a_row_of_pictures_and_its_bars(drawn):
    tiles, *bars = drawn.figure.axes
    makers = [f"{name}, 2.5 minutes on one toy" for name in ("VAE", "GAN", "diffusion")]
    makers += ["diffusion, 9 hours on two toys"]
    assert texts(tiles.get_yticklabels()) == makers
    assert texts(tiles.get_xticklabels()) == [f"toy {row}, flat" for row in range(8)]
    assert texts(bars[0].get_yticklabels()) == makers
    assert all(axes.yaxis_inverted() and len(axes.patches) == 4 for axes in bars)  # the first maker is on top
    assert {axes.get_title(loc="left").replace("\n", " "): texts(axes.texts) for axes in bars} == {
        "network calls per image": ["3", "6", "9", "12"],
        "seconds per image on a toy phone": ["0.0012", "0.0025", "0.0037", "0.0049"],
        "distance from real images, KID × 1000": ["321", "161", "107", "80.3"],
        "diversity: distance within one prompt": ["0.11", "0.22", "0.33", "0.44"],
        "right emoji among the five nearest": ["20.0%", "40.0%", "60.0%", "80.0%"],
    }


def test_a_maker_may_be_missing(baselines_record, tmp_path):
    path = baselines_record / "baselines.json"
    record = json.loads(path.read_text())
    del record["makers"]["diffusion"]
    path.write_text(json.dumps(record))
    lesson = NoModel(tmp_path / "out")
    explain.draw(lesson, "baselines")
    tiles, *bars = lesson.figure.axes
    makers = ["VAE, 2.5 minutes on one toy", "GAN, 2.5 minutes on one toy", "diffusion, 9 hours on two toys"]
    assert texts(tiles.get_yticklabels()) == texts(bars[0].get_yticklabels()) == makers
    assert [texts(axes.texts)[-1] for axes in bars] == ["12", "0.0049", "80.3", "0.44", "80.0%"]


def test_the_pictures_are_the_first_row_of_each_sheet(baselines_record):
    record, tiles = baselines.load_record()
    for name, row in zip(record["makers"], tiles, strict=True):
        with Image.open(baselines_record / f"{name}.webp") as image:
            sheet = np.asarray(image)
        side = sheet.shape[1] // 8
        for column, picture in enumerate(row):
            np.testing.assert_array_equal(picture, sheet[:side, column * side : (column + 1) * side])


@pytest.mark.parametrize("name", ["baselines.json", "gan.webp"])
def test_a_missing_record_speaks(name, baselines_record, tmp_path):
    (baselines_record / name).unlink()
    with pytest.raises(ValueError, match=f"benchmarks/baselines.py makes with --output .*Received: no .*{name}"):
        explain.draw(NoModel(tmp_path / "out"), "baselines")
    assert not (tmp_path / "out").exists()


def test_the_shipped_record_is_whole():
    record, tiles = baselines.load_record()
    assert {"vae", "gan", "diffusion_in_full"} <= set(record["makers"]) <= set(baselines.MAKERS)
    assert tiles.shape[:2] == (len(record["makers"]), baselines.COLUMNS)
    assert {path.stem for path in baselines.RECORD.glob("*.webp")} == set(record["makers"])
    assert all(set(baselines.MEASURES) <= set(measures) for measures in record["makers"].values())
