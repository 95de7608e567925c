import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mounts disks and forks")
@pytest.mark.parametrize("name", ["generate", "train autoencoder", "info"])
def test_commands_end_cleanly(name):
    """Stopped at random moments, or on a full or a read-only disk: no traceback, no partial file, documented codes."""
    command = [sys.executable, "-W", "ignore", HERE / "ending.py", "3", name]
    done = subprocess.run(
        command, cwd=HERE.parent, env={**os.environ, "PYTHONPATH": ".:tests"}, capture_output=True, text=True
    )
    if "mount" in done.stderr and done.returncode:
        pytest.skip("can't mount disks")
    lines = [line for line in done.stdout.splitlines() if line.startswith(name)]
    assert len(lines) == 4, done.stderr
    for line in lines:
        assert "0 tracebacks, 0 partial files" in line
        codes = set(map(int, re.findall(r"(-?\d+): \d+[,}]", line)))
        assert codes <= ({0, 130} if "SIGINT" in line else {0, 143} if "SIGTERM" in line else {0, 1, 2}), line
