"""What it takes to run a SavedModel in TF Serving, written beside it."""

import re
import string
from pathlib import Path

from latentdiff.whole_files import write_text

BATCH_SIZES = (1, 2, 4, 8)  # those that the server fills batches up to, and that are warmed up
TEMPLATES = Path(__file__).parent / "serving"


def model_name(folder):
    """What a model in BASE/VERSION is called at the server: the name of BASE.

    Raises:
        ValueError: a name that can't be part of a URL.
    """
    name = Path(folder).parent.name
    if not re.fullmatch(r"[A-Za-z0-9][-\w.]*", name, re.ASCII):
        raise ValueError(
            "`folder` must be BASE/VERSION, where the name of BASE, which becomes the model's, has letters, digits and "
            f"'-', '_', '.' only. Received: {name!r}"
        )
    return name


def resource_name(name):
    """What Kubernetes objects of a model are called: at most 50 of a-z, 0-9 and "-", a letter in front, no "-" last."""
    words = re.sub("[^a-z0-9]+", "-", name.lower())
    return (words if words[0].isalpha() else f"model-{words}")[:50].strip("-")


def write_serving_files(folder):
    """Writes the files in `serving`, filled in, into BASE/serving; those that are there are kept.

    Args:
        folder: BASE/VERSION, the SavedModel.
    """
    import tensorflow as tf

    name = model_name(folder)
    values = {
        "name": name,
        "resource": resource_name(name),
        "tensorflow": tf.__version__,
        "max_batch": max(BATCH_SIZES),
        "allowed": "\nallowed_batch_sizes: ".join(map(str, BATCH_SIZES)),
    }
    templates = {path.name: string.Template(path.read_text(encoding="utf-8")) for path in sorted(TEMPLATES.iterdir())}
    target = Path(folder).parent / "serving"
    target.mkdir(exist_ok=True)
    for file, template in templates.items():
        if not (target / file).exists():
            write_text(target / file, template.substitute(values))
