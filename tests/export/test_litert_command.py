"""`latentdiff export litert`: what it hands on, and what it refuses before any work."""

import pytest

from latentdiff import cli
from latentdiff.commands import export_litert
from latentdiff.commands import preset as preset_command
from latentdiff.export import litert_quantization

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
    assert options == {"num_tokens": None, "single_file": False, "web": False, "node_modules": None}


def test_each_part_has_its_own_quantization(run):
    _, _, recorder = run("--quantization", "dynamic_int8", "decoder=float16", "--num-tokens", "16", "--single-file")
    expected = {**dict.fromkeys((*FOUR, "pipeline"), "dynamic_int8"), "decoder": "float16"}
    assert recorder.options["quantization"] == expected
    assert recorder.options["num_tokens"] == 16 and recorder.options["single_file"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--quantization", "int3"], "int3"),
        (["--quantization", "unet=float16"], "unet"),
        (["--quantization", "pipeline=float16"], "--single-file"),
        (["--num-tokens", "2"], "num-tokens"),
        (["--preset", "nowhere"], "nowhere"),
    ],
)
def test_wrong_usage(arguments, message, run):
    code, captured, recorder = run(*arguments)
    assert code == 2 and message in captured.err and not hasattr(recorder, "options")


def test_the_command_knows_the_quantizations():
    assert export_litert.QUANTIZATIONS == litert_quantization.QUANTIZATIONS
