"""`latentdiff export litert`: what it hands on, and what it refuses before any work."""

import importlib.util
import shutil

import pytest
from harness import needs_tensorflow

from latentdiff import cli
from latentdiff.commands import export_litert
from latentdiff.commands import preset as preset_command
from latentdiff.export.litert import parts as litert_parts
from latentdiff.export.litert import quantization as litert_quantization
from latentdiff.export.litert.litert import export_litert as export

FOUR = ("text_encoder", "denoiser", "decoder", "encoder")


class Recorder:
    """Stands for a `TextToImage`."""

    def export_litert(self, folder, **options):
        self.folder, self.options = folder, options


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    recorder = Recorder()
    monkeypatch.setattr(preset_command, "open_preset", lambda name: recorder)

    def run(*arguments):
        try:
            code = cli.main(["export", "litert", "--preset", str(tmp_path), "--output", "edge", *arguments])
        except SystemExit as stop:
            code = stop.code
        return code, capsys.readouterr(), recorder

    return run


def test_defaults(run):
    code, captured, recorder = run()
    assert code == 0 and captured.out == "edge\n"
    options = recorder.options
    assert options.pop("quantization") == dict.fromkeys(FOUR, "none")
    assert options == {"num_tokens": None, "single_file": False, "web": False, "node_modules": None, "samplers": None}


def test_each_part_has_its_own_quantization(run):
    _, _, recorder = run("--quantization", "dynamic_int8", "decoder=float16", "--num-tokens", "16", "--single-file")
    expected = {**dict.fromkeys((*FOUR, "pipeline"), "dynamic_int8"), "decoder": "float16"}
    assert recorder.options["quantization"] == expected
    assert recorder.options["num_tokens"] == 16 and recorder.options["single_file"]


def test_samplers_beside_that_of_the_preset(run):
    assert run("--samplers", "dpmpp_2m", "ddim")[2].options["samplers"] == ["dpmpp_2m", "ddim"]
    assert run("--samplers")[2].options["samplers"] == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--quantization", "int3"], "int3"),
        (["--quantization", "unet=float16"], "unet"),
        (["--quantization", "pipeline=float16"], "--single-file"),
        (["--num-tokens", "2"], "num-tokens"),
        (["--samplers", "typo"], "typo"),
        (["--preset", "nowhere"], "nowhere"),
    ],
)
def test_wrong_usage(arguments, message, run):
    code, captured, recorder = run(*arguments)
    assert code == 2 and message in captured.err and not hasattr(recorder, "options")


def test_the_command_knows_the_quantizations_and_parts():
    assert export_litert.QUANTIZATIONS == litert_quantization.QUANTIZATIONS
    assert export_litert.PARTS == litert_parts.PARTS


@pytest.mark.parametrize(
    "missing, arguments, message",
    [
        ("ai_edge_litert", [], 'ai-edge-litert, not installed: pip install "latentdiff[edge]"'),
        (
            "litert_quantizer",
            ["--quantization", "none", "decoder=float16"],
            'litert-quantizer, not installed: pip install "',
        ),
        ("litert_quantizer", [], None),
        ("npm", ["--web"], "npm, which is not installed"),
        ("npm", ["--web", "--node-modules", "here"], None),
        ("npm", [], None),
    ],
)
def test_what_is_not_installed_is_told_first(missing, arguments, message, run, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else "found")
    monkeypatch.setattr(shutil, "which", lambda name: None if name == missing else "found")
    code, captured, recorder = run(*arguments)
    assert hasattr(recorder, "options") == (message is None)
    assert code == (2 if message else 0) and (message or "") in captured.err


@needs_tensorflow
def test_the_library_looks_first_too(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="with ai-edge-litert and litert-quantizer, not installed"):
        export(None, tmp_path / "edge", quantization={"decoder": "float16"})
    assert not list(tmp_path.iterdir())
