"""LiteRT folders and servers as models of the app."""

import shlex

import numpy as np
import pytest
from app.test_studio import FIELDS, pixels, run
from harness import gap, needs_tensorflow

from latentdiff.app import model as models
from latentdiff.app.studio import Studio
from latentdiff.runtimes.client import Client

pytestmark = needs_tensorflow


def test_a_folder_of_litert_files(tiny_export):
    pipeline, folder = tiny_export
    model = models.of_edge(folder)
    assert "unipc" not in next(row for row in model.rows if row.name == "sampler").choices
    studio = Studio(model)
    shown, made = run(studio.generate("me", {**FIELDS, "negative_prompts": "blue"}, num_images=2))
    expected = pipeline.generate("a red cat", negative_prompts="blue", seed=7, num_steps=3, num_images=2)
    assert gap([pixels(each) for each in made], expected) <= 2
    assert "images 1 to 2 of 2: step 3 of 3" in [each.status for each in shown]
    assert shlex.split(made[0].command)[:2] == ["python", str(folder / "generate.py")]
    with pytest.raises(ValueError, match="LoRA files need a preset"):
        list(studio.generate("me", FIELDS, files=["a.safetensors"]))


def test_a_folder_of_litert_files_begins_with_an_image(tiny_export):
    pipeline, folder = tiny_export
    background = np.full((8, 8, 4), 255, "uint8")
    background[:4, :, 0] = 0
    paint = np.zeros((8, 8, 4), "uint8")
    paint[2:6, 2:6] = 255
    editor = {"background": background, "layers": [paint]}
    images = []
    for model in (models.of_edge(folder), models.of_preset("tiny", pipeline)):
        images.append(pixels(run(Studio(model).generate("me", FIELDS, editor=editor))[1][0]))
    assert gap(*images) <= 2


def test_a_server(monkeypatch):
    asked = []

    def draw(self, request, batch_size=8):
        asked.append((request["prompts"], request["seed"], request["num_steps"], request["guidance_scale"]))
        return np.zeros((len(request), 8, 8, 3), "uint8")

    monkeypatch.setattr(Client, "draw", draw)
    studio = Studio(models.of_server("http://localhost:1", "tiny"))
    shown, made = run(studio.generate("me", {"prompts": "a cat", "seed": "3", "num_steps": "5"}, num_images=2))
    assert asked == [(("a cat", "a cat"), (3, 4), (5, 5), (None, None))]
    assert [each.caption for each in made] == ["a cat, seed 3", "a cat, seed 4"]
    assert "sampler" not in [row.name for row in studio.model.rows]
    assert "--server http://localhost:1" in made[0].command
