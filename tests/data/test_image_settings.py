import numpy as np
import pytest

from latentdiff.data.image_settings import from_png, to_png
from latentdiff.data.images import save_png
from latentdiff.settings.request import Request

IMAGE = np.zeros((8, 8, 3), "uint8")


def test_there_and_back(tmp_path):
    request = Request.build("a cat", seed=7, num_steps=3, guidance_interval=(0.5, 2.0), sampler="euler")
    record = {**request.record(0), "preset": "tiny"}
    (tmp_path / "a.png").write_bytes(to_png(IMAGE, record))
    assert from_png(tmp_path / "a.png") == (record, {})


def test_a_png_of_another_program(tmp_path):
    text = "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Clip skip: 2"
    save_png(tmp_path / "a.png", IMAGE, {"parameters": text})
    settings, others = from_png(tmp_path / "a.png")
    assert settings == {
        "prompt": "a cat", "num_steps": 20, "guidance_scale": 7.0, "seed": 5, "sampler": "euler_ancestral"
    }  # fmt: skip
    assert others == {"Clip skip": "2"}


def test_a_png_without_settings(tmp_path):
    save_png(tmp_path / "a.png", IMAGE)
    with pytest.raises(ValueError, match="has no settings"):
        from_png(tmp_path / "a.png")
