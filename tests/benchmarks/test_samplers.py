import json
import types

import numpy as np
import pytest
from PIL import Image

from benchmarks import samplers as bench
from latentdiff.diffusion.samplers import SAMPLERS

CAPTIONS = [f"thing {i}" for i in range(10)]


@pytest.fixture
def data(tmp_path):
    """A folder of 10 images, two of them held out."""
    folder = tmp_path / "data"
    folder.mkdir()
    lines = []
    for i, picture in enumerate(np.random.default_rng(0).integers(0, 255, (10, 4, 4, 3), dtype="uint8")):
        Image.fromarray(picture.repeat(2, 0).repeat(2, 1)).save(folder / f"{i}.png")
        split = "validation" if i < 2 else "train"
        lines.append(json.dumps({"file_name": f"{i}.png", "caption": CAPTIONS[i], "split": split}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture
def preset(tmp_path):
    folder = tmp_path / "preset"
    folder.mkdir()
    for name in ("config.json", "model.weights.h5", "task.json"):
        (folder / name).write_text("{}")
    (tmp_path / bench.FEATURE_WEIGHTS).write_text("features")
    return folder


class Model:
    """Better images from more steps: the true ones, with ever less noise."""

    image_size, sampler, num_steps = (8, 8), "ddim", 20

    def __init__(self, data):
        self.known = dict(zip(CAPTIONS, bench.load_images(data, 8).images, strict=True))
        self.asked = []

    def generate(self, prompts, num_steps, guidance_scale, seed, sampler, batch_size):
        assert len(prompts) % batch_size == 0 and len(set(seed)) == len(prompts)
        self.asked.append((sampler, num_steps))
        noise = np.random.default_rng(0).normal(0, 80 / num_steps, (len(prompts), 8, 8, 3))
        return np.clip(np.stack([self.known[prompt] for prompt in prompts]) + noise, 0, 255).astype("uint8")


def features(images):
    return images.reshape(len(images), -1, 24).mean(2) - 128.0


def run(data, preset, tmp_path, *more, model=None):
    common = [preset, "--data", data, "--metrics", tmp_path, "--output", tmp_path / "out"]
    model = model or Model(data)
    args = bench.parse_arguments([str(value) for value in [*common, *more]])
    bench.run(args, lambda: model, lambda: features)
    return json.loads((tmp_path / "out" / "samplers.json").read_text()), model


OPTIONS = ["--num-images", 7, "--batch-size", 4, "--counts", 1, 2, 5, "--samplers", "ddim", "heun"]


def test_scores_by_calls(data, preset, tmp_path, capsys):
    results, model = run(data, preset, tmp_path, *OPTIONS)
    assert model.asked == [("ddim", 1), ("ddim", 2), ("ddim", 5), ("heun", 1), ("heun", 2)]
    assert [row["calls"] for row in results["rows"]] == [1, 2, 5, 2, 4]
    distances = [row["frechet"] for row in results["rows"][:3]]
    assert distances == sorted(distances, reverse=True) and distances[2] < 0.5 * distances[0]
    assert results["facts"]["num_real"] == 8 and results["facts"]["held_out"]["number"] == 2
    assert "5 of 5" in capsys.readouterr().out
    lines = (tmp_path / "out" / "samplers.md").read_text().splitlines()
    assert lines[4] == "| sampler | 1 | 2 | 4 | 5 |"
    assert lines[6].startswith("| ddim | **") and lines[6].split("|")[4] == "  "


def test_it_goes_on_where_it_was(data, preset, tmp_path):
    first, _ = run(data, preset, tmp_path, *OPTIONS)
    again, model = run(data, preset, tmp_path, *OPTIONS[:4], "--counts", 2, 3, "--samplers", "ddim")
    assert model.asked == [("ddim", 3)]
    assert again["rows"][: len(first["rows"])] == first["rows"] and len(again["rows"]) == len(first["rows"]) + 1


def test_results_of_other_settings_are_not_mixed(data, preset, tmp_path):
    run(data, preset, tmp_path, *OPTIONS)
    with pytest.raises(ValueError, match="`output` must be a new folder.*'num_images': 7"):
        run(data, preset, tmp_path, "--num-images", 6, *OPTIONS[2:])
    run(data, preset, tmp_path, *OPTIONS)
    with pytest.raises(ValueError, match="`output` must be a new folder"):
        run(data.rename(tmp_path / "moved"), preset, tmp_path, *OPTIONS)


@pytest.mark.parametrize("name", ["preset/model.weights.h5", "preset/task.json", bench.FEATURE_WEIGHTS])
def test_results_of_other_weights_are_not_mixed(data, preset, tmp_path, name):
    run(data, preset, tmp_path, *OPTIONS)
    (tmp_path / name).write_text("other")
    with pytest.raises(ValueError, match="`output` must be a new folder.*digest"):
        run(data, preset, tmp_path, *OPTIONS)


def test_plot(data, preset, tmp_path):
    pytest.importorskip("matplotlib")
    run(data, preset, tmp_path, *OPTIONS)
    with Image.open(tmp_path / "out" / "samplers.png") as image:
        assert image.width > 1000
        assert len(image.getcolors(1 << 20)) > 50


def test_no_plot_without_matplotlib(data, preset, tmp_path, monkeypatch, capsys):
    from benchmarks import convergence_report

    monkeypatch.setattr(
        convergence_report, "importlib", types.SimpleNamespace(util=types.SimpleNamespace(find_spec=lambda name: None))
    )
    run(data, preset, tmp_path, *OPTIONS)
    assert "matplotlib is not installed" in capsys.readouterr().out
    assert not (tmp_path / "out" / "samplers.png").exists()


@pytest.mark.parametrize("name", SAMPLERS)
def test_calls_a_step(name):
    assert bench.calls_a_step(name) == (2 if name == "heun" else 1)


def test_wrong_counts():
    with pytest.raises(ValueError, match="`counts` must be at least 1"):
        bench.runs_of(["ddim"], [4, 0])
    with pytest.raises(ValueError, match=r"`counts` must allow a step of one of \['heun'\]. Received: counts=\[1\]"):
        bench.runs_of(["heun"], [1])
