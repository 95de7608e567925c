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
OUTSIDE = sorted(path for folder in ("training", "benchmarks") for path in (ROOT / folder).rglob("*.py"))

# Each floor may import the floors above it in this list, which stand below it in the house.
FLOORS = [
    "version",
    "whole_files",
    "placeholders",
    "settings",
    "diffusion",
    "models",
    "data",
    "presets",
    "convert",
    "export",
    "pipelines",
    "evaluation",
    "recipes",
    "runtimes",
    "explain",
    "app",
    "commands",
    "cli",
    "__main__",
    "training",
    "benchmarks",
]
# Where a floor may import less than all that stands below it.
ONLY = {"settings": {"version"}, "diffusion": {"settings"}, "runtimes": {"version", "settings"}}
OPTIONAL = {"latentdiff.app.page": "gradio"}  # modules that are nothing without a library
ALONE = {PACKAGE / "runtimes" / "edge.py"}  # one file that people copy to where nothing else is


def floor_of(module):
    """The floor of a dotted module, or None for another library's."""
    library, _, rest = module.partition(".")
    if library in ("training", "benchmarks"):
        return library
    return rest.split(".")[0] if library == "latentdiff" and rest else None


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path) for path in [*FILES, *OUTSIDE]}


def imported(path):
    """(module, line) of each import in a file, also inside functions; modules of this project as they are in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            for alias in node.names:
                yield _resolve(node.module, alias.name), node.lineno


def _resolve(module, name):
    """The module that `from module import name` loads: a public name of the package stands for the module it is in."""
    if module == "latentdiff":
        name = latentdiff._MODULES.get(name, name)
    return f"{module}.{name}" if f"{module}.{name}" in MODULES else module


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


# === Imports ===


@pytest.mark.parametrize("path", [*FILES, *OUTSIDE], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_floor_imports_the_floors_below_it_only(path):
    floor = floor_of(module_of(path))
    if floor is None:  # latentdiff/__init__.py, which names what is public
        return
    assert floor in FLOORS, f"{floor} has no place in FLOORS"
    below = ONLY.get(floor, set(FLOORS[: FLOORS.index(floor)]))
    for module, line in imported(path):
        other = floor_of(module)
        if other not in (None, floor):
            assert path not in ALONE, f"{path}:{line}: {path.name} must stand alone"
            assert other in below, f"{path}:{line}: {floor} must not import {other}"


def test_no_modules_import_each_other_in_a_circle():
    edges = {}
    for path in [*FILES, *OUTSIDE]:
        others = {module for module, _ in imported(path)} & MODULES
        edges[module_of(path)] = others - {module_of(path), "latentdiff"}
    done = set()

    def visit(module, seen=()):
        assert module not in seen, f"imports go in a circle: {[*seen, module]}"
        if module not in done:
            for other in edges[module]:
                visit(other, (*seen, module))
            done.add(module)

    for module in edges:
        visit(module)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_backends_are_imported_inside_functions_only(path):
    """And by few modules only: the rest is `keras.ops`."""
    top = {library for node in ast.parse(path.read_text()).body for library in names_of(node)}
    assert not top & {"tensorflow", "jax", "torch"}
    if (
        path.stem not in ("compilation", "fused_steps", "replicas", "tensorboard", "tfds", "edge")
        and "export" not in path.parts
    ):
        backends = {"tensorflow", "jax", "torch", "tensorflow_text"}
        assert not {module.split(".")[0] for module, _ in imported(path)} & backends


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
        runpy.run_module(name, run_name="__main__")
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
    modules = [name for name in modules if importlib.util.find_spec(OPTIONAL.get(name, "keras"))]
    scripts = ["training.train_baseline"]
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
    assert len(path.read_text().splitlines()) < (260 if path in ALONE else 300)
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
