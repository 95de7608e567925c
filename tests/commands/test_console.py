import io
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from latentdiff.commands import console
from latentdiff.commands.output import Output
from latentdiff.settings.request import Request


class Closed(io.StringIO):
    def write(self, text):
        raise ValueError("I/O operation on closed file.")


class Narrow(io.StringIO):
    def write(self, text):
        raise UnicodeEncodeError("cp1252", text, 0, 1, "character maps to <undefined>")


@pytest.mark.parametrize("stream", [Closed(), Narrow()])
def test_a_console_that_takes_nothing_ends_nothing(stream):
    console.say("кот.png", stream)


def test_a_reader_that_is_gone_ends_nothing():
    code = (
        "import sys; from latentdiff.commands.console import say; [say('x' * 1000) for _ in range(1000)]; sys.exit(3)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", 3)


@pytest.mark.parametrize("closed", ["", "2>&-", ">&- 2>&-"])
def test_names_that_a_console_lacks_and_streams_that_are_closed(closed, tmp_path):
    """A file opened later does not get the number of a closed stream."""
    code = (
        "from latentdiff.commands import console; console.prepare(); file = open('file', 'w'); "
        "console.say('кот'); assert file.fileno() > 2"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = f'"{sys.executable}" -c "{code}" {closed}'
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0 and done.stderr == b""
    assert done.stdout == (b"" if ">&- " in closed else rb"\u043a\u043e\u0442" + b"\n")


def test_two_writers_in_one_folder_lose_nothing(tmp_path):
    """Each has its own names, and the manifest has all images."""

    def write(seed):
        request = Request.build(["a cat"] * 6, seed=[seed] * 6)
        output = Output(tmp_path, request, grid=False)
        output.prepare()
        for index in range(6):
            output.add(np.full((2, 2, 3), 10 * seed + index, "uint8"), request.record(index))

    writers = [threading.Thread(target=write, args=(seed,)) for seed in (1, 1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    import json

    entries = json.loads((tmp_path / "manifest.json").read_text())
    files = {path.name for path in tmp_path.iterdir()} - {"manifest.json"}
    assert {entry["file"] for entry in entries} == files
    assert len(files) == 12  # equal images of the first two writers share a file
