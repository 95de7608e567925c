"""What it takes to run a SavedModel in TF Serving, written beside it."""

import re
import string
from pathlib import Path

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


def write_serving_files(folder):
    """Writes the files in `serving`, filled in, into BASE/serving; those that are there are kept.

    Args:
        folder: BASE/VERSION, the SavedModel.
    """
    import tensorflow as tf

    target = Path(folder).parent / "serving"
    target.mkdir(exist_ok=True)
    name = model_name(folder)
    values = {
        "name": name,
        "resource": re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:50],  # what Kubernetes allows
        "tensorflow": tf.__version__,
        "max_batch": max(BATCH_SIZES),
        "allowed": "\nallowed_batch_sizes: ".join(map(str, BATCH_SIZES)),
    }
    for template in sorted(TEMPLATES.iterdir()):
        path = target / template.name
        if not path.exists():
            text = string.Template(template.read_text(encoding="utf-8")).substitute(values)
            path.write_text(text, encoding="utf-8")
