"""One Python file an experiment: `get_config(quick)` gives its settings."""

import importlib
import importlib.util
from pathlib import Path


def load_config(name, quick=False):
    """The settings of an experiment.

    Args:
        name: a module of `training.configs`, or the path of a Python file with a function `get_config(quick)`.
        quick: shrink everything so that a script runs through in minutes on a CPU, to see that it works.

    Returns:
        SimpleNamespace, what the file's `get_config(quick)` returns.

    Raises:
        ValueError: there is no such module or file.
    """
    if str(name).endswith(".py"):
        if not Path(name).is_file():
            raise ValueError(f"`--config` must be a file that exists. Received: {str(name)!r}")
        spec = importlib.util.spec_from_file_location(Path(name).stem, name)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.get_config(quick)
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")
    if name not in names:
        raise ValueError(f"`--config` must be one of {names} or a .py file. Received: {name!r}")
    return importlib.import_module(f"{__name__}.{name}").get_config(quick)
