import json

import numpy as np
import pytest

from benchmarks import tiles


def test_differences():
    whole = np.zeros((1, 2, 2, 3), "uint8")
    row = tiles.measure(whole, whole + np.array([0, 0, 4], "uint8"))
    assert (row["largest"], row["mean"]) == (4, pytest.approx(4 / 3))
    assert row["psnr"] == pytest.approx(10 * np.log10(255**2 / (16 / 3)))


@pytest.mark.slow
def test_tiles_take_less_memory(capsys):
    tiles.main(["emoji-128", "--side", "512", "--tile-sizes", "128"])
    whole, tiled = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert whole["psnr"] == float("inf") and tiled["psnr"] > 25
    assert tiled["memory_mb"] < 0.7 * whole["memory_mb"]
