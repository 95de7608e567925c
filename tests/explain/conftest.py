import json

import numpy as np
import pytest
from PIL import Image

from latentdiff.explain import baselines

SIDE, PROMPTS = 8, [f"toy {row}, flat" for row in range(12)]


@pytest.fixture
def baselines_record(tmp_path, monkeypatch):
    """A tiny record of benchmarks/baselines.py in place of the shipped one: its folder."""
    folder, makers, rng = tmp_path / "record", {}, np.random.default_rng(0)
    folder.mkdir()
    for row, name in enumerate(baselines.MAKERS, 1):
        scores = {"kid_x1000": 321.0987654321 / row, "frechet": 99.5 / row, "emoji_at_5": 0.2 * row}
        trained = "9 hours on two toys" if name == "diffusion_in_full" else "2.5 minutes on one toy"
        makers[name] = {
            "trained": trained,
            **scores,
            "calls": 3 * row,
            "seconds": 0.00123456789 * row,
            "diversity": 0.11 * row,
        }
        sheet = rng.integers(0, 256, (2 * SIDE, baselines.COLUMNS * SIDE, 3), "uint8")
        Image.fromarray(sheet).save(folder / f"{name}.webp", lossless=True)
    record = {"timed_on": "a toy phone", "pictures": 40, "prompts": PROMPTS, "seed": 7, "makers": makers}
    (folder / "baselines.json").write_text(json.dumps(record))
    monkeypatch.setattr(baselines, "RECORD", folder)
    return folder
