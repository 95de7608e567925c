"""Wrong usage of `latentdiff app` and `latentdiff push`; `tests/app` and `tests/presets` have the rest."""

import sys

import pytest
from harness import GOLDEN

from latentdiff import cli

PRESET = str(GOLDEN / "jax_preset")


def refused(capsys, arguments, message):
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["app", "--edge", "a", "--server", "b:1"], "--edge can't be combined with --server"),
        (["push", PRESET, "me/mine"], "ADDRESS must begin with hf:// or kaggle://. Received: me/mine"),
        (["push", "none", "hf://me/mine"], "`preset` must be a folder"),
    ],
)
def test_wrong_usage(capsys, arguments, message):
    refused(capsys, arguments, message)


def test_without_gradio(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    refused(capsys, ["app", "--preset", PRESET], 'app needs gradio: pip install "latentdiff[app]"')
