"""`import latentdiff` does not import Keras, and Keras imported later finds our classes all the same."""

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest
from harness import tiny_autoencoder, tiny_unet

import latentdiff
from latentdiff.models.layers.group_norm import GroupNorm
from latentdiff.placeholders import REGISTERED, Placeholder

ROOT = Path(__file__).parents[1]
ENV = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}


def run(code, *arguments):
    result = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], env=ENV, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


LATE = "from latentdiff.recipes.callbacks import Preview; import keras"


@pytest.mark.slow
@pytest.mark.parametrize("first", ["import latentdiff, keras", "import keras, latentdiff", LATE])
def test_models_open_in_whatever_order_the_two_are_imported(first, tmp_path):
    tiny_autoencoder().save(tmp_path / "autoencoder.keras")
    keras.Sequential([keras.Input((8, 8, 3)), GroupNorm(groups=3)]).save(tmp_path / "own.keras")
    code = f"import sys; {first}; print(*(type(keras.saving.load_model(path)).__name__ for path in sys.argv[1:]))"
    assert run(code, tmp_path / "autoencoder.keras", tmp_path / "own.keras").split() == ["Autoencoder", "Sequential"]


def test_importing_latentdiff_imports_no_keras():
    code = "import importlib.util, sys, latentdiff; importlib.util.find_spec('keras'); print('keras' in sys.modules)"
    assert run(code).split() == ["False"]


def test_the_names_are_those_of_the_registered_classes():
    marked = re.compile(r"register_keras_serializable\(.*\)\n(?:@.*\n)*class (\w+)")
    found = [name for path in (ROOT / "latentdiff").rglob("*.py") for name in marked.findall(path.read_text("utf-8"))]
    assert sorted(f"latentdiff>{name}" for name in found) == sorted(REGISTERED)


@pytest.mark.slow
def test_each_registered_class_has_its_placeholder():
    """And all of them are imported by the first one that is used."""
    latentdiff.UNet  # noqa: B018  now all are imported
    known = keras.saving.get_custom_objects()
    ours = {name for name, value in known.items() if getattr(value, "__module__", "").startswith("latentdiff.")}
    assert set(REGISTERED) == ours
    code = """
import latentdiff, keras
from latentdiff.placeholders import REGISTERED, Placeholder
known = keras.saving.get_custom_objects()
before = [isinstance(known[name], Placeholder) for name in REGISTERED]
known["latentdiff>NoiseSchedule"].from_config({})
print(all(before), any(isinstance(known[name], Placeholder) for name in REGISTERED))
"""
    assert run(code).split() == ["True", "False"]


def test_a_placeholder_gives_what_its_class_gives():
    unet = tiny_unet()
    placeholder = Placeholder("latentdiff>UNet", lambda: None)
    assert placeholder.from_config(unet.get_config()).get_config() == unet.get_config()
