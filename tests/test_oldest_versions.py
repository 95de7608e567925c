"""The oldest versions that setup.cfg allows are enough for networks, samplers and presets."""

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTED = ["tests/models", "tests/diffusion/samplers", "tests/presets"]
TOOLS = ["filelock", "pytest", "pytest-xdist"]


def oldest(requirements):
    """`name>=1.2` as `name==1.2.*`, the oldest release with its corrections."""
    return [f"{line.replace('>=', '==')}.*" for line in requirements.split()]


@pytest.mark.slow
def test_networks_samplers_and_presets(tmp_path):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    packages = oldest(setup["options"]["install_requires"])
    hub = next(line.replace("keras-nlp", "keras-hub") for line in packages if line.startswith("keras-nlp"))
    subprocess.run([sys.executable, "-m", "venv", tmp_path], check=True)
    python = tmp_path / "bin" / "python"
    installed = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *packages, hub, *TOOLS], capture_output=True, text=True
    )
    if "Could not find a version" in installed.stderr or "No matching distribution" in installed.stderr:
        pytest.skip(f"not for this Python: {installed.stderr[-300:]}")
    assert installed.returncode == 0, installed.stderr[-3000:]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [python, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *TESTED]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-5000:]
    assert " passed" in result.stdout
