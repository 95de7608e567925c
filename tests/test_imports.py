"""The shape of the code: imports go one way, the core needs no TensorFlow, and nothing grows too long."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import latentdiff

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "latentdiff"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "saved_models" not in path.parts)

# Each part may import those of its own row and of the rows above.
ROWS = [
    {"version", "preset_folder", "prompt_syntax", "images", "noise", "noise_schedule", "layers", "text_encoder"},
    {"compilation", "fused_steps", "npz_weights", "preset_weights", "trainable_model", "losses"},
    {"autoencoder", "unet"},
    {"samplers", "guidance", "denoiser"},
    {"latent_diffusion"},
    {"pipeline", "picture_settings", "prompt_weights"},
    {"text_to_image", "image_to_image", "inpaint"},
    {"presets", "callbacks", "metrics", "export", "client"},
    {"explain"},
    {"cli", "commands", "__main__"},
]
# `TextToImage.from_preset` and `export` are at hand where people look for them; the imports wait inside the methods.
EXCEPTIONS = {("pipeline", "presets"), ("text_to_image", "export")}
ALONE = {"edge"}


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def row_of(part):
    rows = [index for index, parts in enumerate(ROWS) if part in parts]
    assert rows, f"{part} has no place in ROWS"
    return rows[0]


def imported(path):
    """(part of latentdiff or name of another library, line) of each import in a file, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            library, *rest = name.split(".")
            if library == "latentdiff" and rest:  # a public name of the package stands for its module
                yield latentdiff._MODULES.get(rest[0], rest[0]), node.lineno
            elif library != "latentdiff":
                yield library, node.lineno


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


# === Imports ===


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    part = part_of(path)
    if part == "__init__":
        return
    inner = {file.stem for file in FILES} | {file.parent.name for file in FILES}
    for other, line in imported(path):
        if other not in inner or other == part or (part, other) in EXCEPTIONS:
            continue
        assert part not in ALONE, f"{path}:{line}: {part} must not import {other}"
        assert row_of(other) <= row_of(part), f"{path}:{line}: {part} must not import {other}, which is above it"


def test_no_circle_within_a_row():
    edges = {}
    for path in FILES:
        part = part_of(path)
        others = {other for other, _ in imported(path) if (part, other) not in EXCEPTIONS and other != part}
        edges.setdefault(part, set()).update(others)

    def reach(part, seen=()):
        assert part not in seen, f"imports go in a circle: {[*seen, part]}"
        for other in edges.get(part, ()):
            reach(other, (*seen, part))

    for part in edges.keys() - {"__init__"}:
        reach(part)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_backends_are_imported_inside_functions_only(path):
    """And by few modules only: the rest is `keras.ops`."""
    top = {library for node in ast.parse(path.read_text()).body for library in names_of(node)}
    assert not top & {"tensorflow", "jax", "torch"}
    if part_of(path) not in ("compilation", "fused_steps", "export", "edge"):
        assert not {library for library, _ in imported(path)} & {"tensorflow", "jax", "torch", "tensorflow_text"}


def names_of(node):
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    return [node.module.split(".")[0]] if isinstance(node, ast.ImportFrom) else []


BLOCKED = """
import importlib, importlib.abc, runpy, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tensorflow_text", "tf_keras"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
modules, scripts = (argument.split() for argument in sys.argv[1:])
for name in modules:
    importlib.import_module(name)
for name in scripts:
    sys.argv[1:] = ["--help"]
    try:
        runpy.run_module(name)
    except SystemExit as end:
        assert not end.code, name
import latentdiff
made = [getattr(latentdiff, name) for name in latentdiff.__all__]
assert "tensorflow" not in sys.modules
print("imported", len(made), file=sys.stderr)
"""


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
def test_no_part_and_no_training_script_needs_tensorflow():
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES]
    modules = [name.removesuffix(".__init__") for name in modules if ".export" not in name and "__main__" not in name]
    names = ("train_autoencoder", "encode_latents", "train_latent_diffusion", "train_gan", "train_vae_sampler")
    scripts = [f"training.{name}" for name in names]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", BLOCKED, " ".join(modules), " ".join(scripts)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().endswith(f"imported {len(latentdiff.__all__)}")
    assert done.stdout.count("usage:") == len(scripts)


def test_the_backend_is_the_users():
    """No code sets KERAS_BACKEND, by any of the ways to do it."""
    for path in [*FILES, *(ROOT / "training").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
                assert "KERAS_BACKEND" not in ast.unparse(node), where
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).split(".")[-1]
                assert name != "set_backend", where
                if name in ("setdefault", "putenv", "update"):
                    assert "KERAS_BACKEND" not in ast.unparse(node), where


# === Sizes ===


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_short(path):
    # One file is all of a program that people copy to where nothing else is.
    assert len(path.read_text().splitlines()) < (400 if part_of(path) in ALONE else 300)
    for function in functions(path):
        body = function.body[1:] if ast.get_docstring(function) else function.body
        lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
        assert lines <= 40, f"{path}:{function.lineno}: {function.name} has {lines} lines"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_asserts_and_no_printing(path):
    printers = {"cli.py", "commands"}
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}"
        if isinstance(node, ast.Call) and path.relative_to(PACKAGE).parts[0] not in printers:
            assert ast.unparse(node.func) != "print", f"{path}:{node.lineno}"
