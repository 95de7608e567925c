import json

import pytest

from benchmarks import large_sets

pytest.importorskip("grain")


def run(tmp_path, *arguments):
    large_sets.main([*arguments, "--output", str(tmp_path / "out.json"), "--folder", str(tmp_path)])
    return json.loads((tmp_path / "out.json").read_text())


@pytest.mark.parametrize("kind", large_sets.KINDS)
def test_images(kind, tmp_path):
    arguments = ["--kind", kind, "--sizes", "20", "40", "--batch-size", "4", "--num-batches", "3", "--side", "8"]
    rows = run(tmp_path, "images", *arguments, "--workers", "0")
    assert [row["num_images"] for row in rows] == [20, 40]
    assert all(row["images_per_second"] > 0 and row["bytes_after"] > 1e6 for row in rows)
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_latents(tmp_path):
    rows = run(
        tmp_path, "latents", "--sizes", "20", "--batch-size", "4", "--num-batches", "3", "--shape", "2", "2", "3"
    )
    assert rows[0]["num_latents"] == 20 and rows[0]["latents_per_second"] > 0
