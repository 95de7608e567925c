"""The edge benchmarks: what is timed is timed in turn, and images are compared with those of the first folder."""

import argparse
import importlib.util

import numpy as np
import pytest
from harness import needs_tensorflow
from PIL import Image

from benchmarks import edge, edge_pictures

has_runtime = all(importlib.util.find_spec(name) for name in ("ai_edge_litert", "tokenizers"))
pytestmark = [needs_tensorflow, pytest.mark.skipif(not has_runtime, reason="needs ai-edge-litert and tokenizers")]


def test_sides_take_turns():
    calls = []
    sides = {name: lambda inputs, name=name: calls.append(name + inputs) for name in "ab"}
    times = edge.interleaved(sides, "", rounds=3)
    assert "".join(calls) == "aabb" + "ababab"
    for median, least, most, busy in times.values():
        assert 0 <= least <= median <= most and busy >= 0


def test_litert_and_the_graph_agree(tiny_export):
    pipeline, folder = tiny_export
    inputs = edge.example(pipeline)
    graph, litert = edge.tensorflow_side(edge.unet_function(pipeline, inputs)), edge.litert_side(folder, 2)
    np.testing.assert_allclose(litert(inputs), graph(inputs), atol=1e-4)
    calls = edge.capture_calls(folder, ["a red apple"], num_steps=3)
    assert [call["timesteps"][0] for call in calls] == [999.0, 666.0, 332.0]
    expected = [graph(call) for call in calls]
    assert edge.error(litert, calls, expected) < 1e-4
    np.testing.assert_allclose(edge.error(lambda call: 1.25 * graph(call), calls, expected), 0.25, rtol=1e-5)
    assert edge.error(lambda call: None, calls, expected) is None


def test_a_dead_torch_process_is_told(tiny_export):
    unet = tiny_export[0].model.unet
    with pytest.raises(RuntimeError, match="PyTorch stopped with exit code 1"):
        edge.torch_side("false", unet, "eager", 1)


def test_another_preset_gets_another_folder(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.weights.h5").write_text(name)
    made = []

    def stop(pipeline, folder, quantization):
        made.append(folder)
        raise InterruptedError

    monkeypatch.setattr(edge, "export_litert", stop)
    monkeypatch.setattr(edge.TextToImage, "from_preset", str)
    monkeypatch.setattr("tensorflow.config.threading.set_intra_op_parallelism_threads", int)  # too late in a test
    for name in ("one", "one", "two"):
        monkeypatch.setattr("sys.argv", ["edge", "--work", str(tmp_path / "work"), "--preset", str(tmp_path / name)])
        with pytest.raises(InterruptedError):
            edge.main()
    assert made[0] == made[1] != made[2] and made[0].is_relative_to(tmp_path / "work")


def test_report(tmp_path, capsys, tiny_export):
    _, folder = tiny_export
    args = argparse.Namespace(folders=[folder, folder], threads=1, output=tmp_path)

    def features(images):
        return images.reshape(len(images), -1).astype("float64") / 255.0

    real = features(np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)))
    edge_pictures.report("two prompts", ["cat", "a red apple"], args, real, features, lambda a, b: np.zeros(len(a)))
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| edge")]
    assert len(rows) == 2 and rows[0] == rows[1] and rows[0][1] == "inf"
    sheet = np.asarray(Image.open(tmp_path / "two_prompts.png"))
    assert sheet.shape[0] == 8 and (sheet[:, :8] == sheet[:, 10:18]).all()
