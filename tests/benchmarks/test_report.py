import json

import numpy as np

from benchmarks.report import Report
from latentdiff.data.images import read_settings


def test_tables_answers_and_sheets(tmp_path):
    report = Report(tmp_path / "out", {"preset": "some", "num_steps": 20, "guidance_scale": None})
    report.facts = {"num_real": 9, "threshold": 0.05}
    report.add("pictures", prompts="train", pictures="real", number=3, joint=1.0, kid_x1000=0.04)
    report.add("pictures", prompts="paraphrases", pictures="generated", number=2, joint=0.5)
    report.add_answers("paraphrases", [{"prompt": "café", "nearest": "x"}])
    report.sheet("train", np.zeros((3, 4, 4, 3), "uint8"), columns=2)

    content = json.loads((tmp_path / "out" / "quality.json").read_text("utf-8"))
    assert content["settings"]["num_steps"] == 20
    assert content["tables"]["pictures"][1] == {
        "prompts": "paraphrases",
        "pictures": "generated",
        "number": 2,
        "joint": 0.5,
    }
    assert content["answers"]["paraphrases"][0]["prompt"] == "café"

    text = (tmp_path / "out" / "quality.md").read_text("utf-8")
    assert "Settings: preset some, num_steps 20." in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines == [
        "| prompts | pictures | number | joint | KID x 1000 |",
        "| --- | --- | --- | --- | --- |",
        "| train | real | 3 | 1.000 | 0.0 |",
        "| paraphrases | generated | 2 | 0.500 |  |",
    ]
    assert "9 real training images" in text and "0.0500" in text
    assert read_settings(tmp_path / "out" / "train.png") == {}
