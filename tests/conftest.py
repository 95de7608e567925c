import os
import random

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from filelock import FileLock  # noqa: E402
from harness import tiny_text_to_image  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def fixed_seed_of_the_file():
    """Random numbers are the same in each run of a file. Not of a test: seeded, TensorFlow drops what it compiled."""
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def fixed_seed():
    """Fresh weights are the same in each run, whatever ran before: Keras draws their seeds from `random`."""
    random.seed(0)
    np.random.seed(0)


@pytest.fixture(scope="module")
def pipeline():
    """A tiny pipeline with fresh weights, for the tests of one file."""
    keras.utils.set_random_seed(0)
    return tiny_text_to_image()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Function (name, make) that gives the folder which `make(folder)` writes, once for all workers of this run."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def made(name, make):
        with FileLock(shared / f"{name}.lock"):
            if not (shared / name).exists():
                make(shared / name)
        return shared / name

    return made


@pytest.fixture(scope="session")
def tiny_export(made_once):
    """The tiny pipeline and the folder of LiteRT files that it was exported to."""
    from latentdiff.export.litert.litert import export_litert

    keras.utils.set_random_seed(0)
    pipeline = tiny_text_to_image()
    return pipeline, made_once("edge", lambda folder: export_litert(pipeline, folder))
