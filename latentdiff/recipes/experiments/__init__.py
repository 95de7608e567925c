"""Built-in experiments, one Python file each, and how experiments are found: by name, or as a file of yours."""

import difflib
import importlib
import importlib.util
from pathlib import Path

from latentdiff.recipes.experiment import Experiment

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")


def load_experiment(name, quick=False):
    """The settings of an experiment.

    Args:
        name: one of `NAMES`, or the path of a Python file with a function `get_experiment(quick)`.
        quick: whether to shrink the run to a trial of minutes on a CPU.

    Returns:
        `Experiment`.

    Raises:
        ValueError: there is no such experiment, or its file does not give one.
    """
    module = _load_file(Path(name)) if str(name).endswith(".py") else _load_built_in(str(name))
    if not hasattr(module, "get_experiment"):
        raise ValueError(f"`experiment` must define a function `get_experiment(quick)`. Received: experiment={name!s}")
    made = _run(name, lambda: module.get_experiment(quick))
    if not isinstance(made, Experiment):
        kind = type(made).__name__
        raise ValueError(f"`get_experiment` must return an `Experiment`. Received: a {kind} from experiment={name!s}")
    return made


def _load_built_in(name):
    if name in NAMES:
        return importlib.import_module(f"{__name__}.{name}")
    near = difflib.get_close_matches(name, NAMES, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"`experiment` must be one of {NAMES} or a .py file.{hint} Received: experiment={name!r}")


def _load_file(path):
    if not path.is_file():
        raise ValueError(f"`experiment` must be a file that exists. Received: experiment={str(path)!r}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    _run(path, lambda: spec.loader.exec_module(module))
    return module


def _run(path, function):
    """`function()`; what is wrong with the user's file becomes one line that names it."""
    try:
        return function()
    except ValueError as error:
        raise ValueError(f"experiment {path}: {error}") from error
    except Exception as error:
        traceback, line = error.__traceback__, None
        while traceback:
            line = traceback.tb_lineno if traceback.tb_frame.f_code.co_filename == str(path) else line
            traceback = traceback.tb_next
        where = f", line {line}" if line else ""
        raise ValueError(f"experiment {path}{where}: {type(error).__name__}: {error}") from error
