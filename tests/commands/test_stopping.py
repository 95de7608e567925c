"""SIGTERM ends a command as cleanly as Ctrl-C: drafts are removed, one line is said, and the exit code tells it."""

import argparse
import os
import signal
import sys
import time

import pytest

from latentdiff import cli
from latentdiff.whole_files import draft_of, replaced


@pytest.mark.parametrize(
    "number, code, word", [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_a_command_in_one_line(tmp_path, capsys, number, code, word):
    def run(args):
        with draft_of(tmp_path / "folder") as folder, replaced(tmp_path / "file") as file:
            (folder / "part").write_text("half")
            file.write_text("half")
            os.kill(os.getpid(), number)
            time.sleep(10)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        assert cli.run(argparse.Namespace(run=run)) == code
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == f"latentdiff: error: {word}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_a_signal_of_which_native_code_made_another_error(capsys, number, code, kind):
    def run(args):
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        except KeyboardInterrupt:
            raise kind("callback failed") from None

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert cli.run(argparse.Namespace(run=run)) == code
    finally:
        signal.signal(signal.SIGINT, before)
    word = {130: "interrupted", 143: "terminated"}[code]
    assert capsys.readouterr().err == f"latentdiff: error: {word}\n"


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_within_a_finalizer_is_not_lost(capfd, number, code):
    class Stopped:
        def __del__(self):
            os.kill(os.getpid(), number)
            time.sleep(1.0)  # the exception is raised here, and Python swallows it

    def run(args):
        Stopped()
        time.sleep(10)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    hook = sys.unraisablehook
    try:
        assert cli.run(argparse.Namespace(run=run)) == code
    finally:
        signal.signal(signal.SIGINT, before)
    assert "Traceback" not in capfd.readouterr().err and sys.unraisablehook is hook


def test_the_handler_is_there_only_while_a_command_runs():
    seen = []
    assert cli.run(argparse.Namespace(run=lambda args: seen.append(signal.getsignal(signal.SIGTERM)))) == 0
    assert seen != [signal.SIG_DFL] and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_handler_of_the_user_stays(monkeypatch):
    def mine(number, frame):
        pass

    before = signal.signal(signal.SIGTERM, mine)
    try:
        seen = []
        cli.run(argparse.Namespace(run=lambda args: seen.append(signal.getsignal(signal.SIGTERM))))
        assert seen == [mine]
    finally:
        signal.signal(signal.SIGTERM, before)
