import json

import pytest
from harness import tiny_text_to_image

from benchmarks import start


def test_rounds_of_processes_and_what_they_say(tmp_path):
    said = tmp_path / "runs"
    script = f"open({str(said)!r}, 'a').write('x'); print('hello'); print({json.dumps({'open': 0.5})!r})"
    seconds = start.measure({start.TENSORFLOW: ["-c", "pass"], "parts": ["-c", script]}, rounds=2)
    assert said.read_text() == "xxx"  # the first round is not counted
    assert seconds["open"] == [0.5, 0.5] and len(seconds[start.TENSORFLOW]) == 2
    assert all(0.0 < value < 60.0 for value in seconds[start.TENSORFLOW])


def test_medians_as_multiples_of_the_import():
    rows = start.table({start.TENSORFLOW: [2.0, 9.0, 1.0], "open": [1.0, 3.0, 2.0]}).splitlines()
    assert rows[2:] == ["| import tensorflow | 2.00 | 1.00 |", "| open | 2.00 | 1.00 |"]


@pytest.mark.slow
def test_a_preset_is_opened_and_draws(tmp_path):
    tiny_text_to_image().save_to_preset(tmp_path / "preset")
    seconds = start.measure({"parts": ["-c", start.OPEN, str(tmp_path / "preset"), "a cat"]}, rounds=1)
    assert set(seconds) == {"open the preset", "first image", "second image", "first 4 images", "next 4"}
    assert all(len(values) == 1 for values in seconds.values())
