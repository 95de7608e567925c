import runpy
import sys

import pytest


@pytest.fixture
def run_script(monkeypatch):
    """Function (name, *arguments) that runs a training script as its command line does."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_module(f"training.{name}", run_name="__main__")

    return run
