import gc
import os
import random

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from filelock import FileLock  # noqa: E402
from harness import EXPORTED, tiny_latent_diffusion, tiny_text_to_image  # noqa: E402

keras.config.disable_traceback_filtering()  # failures show all frames, and tracing takes a twentieth less time
# The graphs of a thousand tests stay in memory: looking through them for garbage takes a twentieth of the time.
gc.set_threshold(100_000, 50, 1000)


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


@pytest.fixture(scope="module")
def adaptable():
    """A tiny `LatentDiffusion` with fresh weights, for the tests of one file."""
    return tiny_latent_diffusion()


@pytest.fixture
def plain(adaptable):
    """The model of the file, whose adapters are taken off afterwards."""
    yield adaptable
    adaptable.lora.clear()


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
def exported(made_once):
    """Function (name, samplers) that gives a tiny pipeline and the folder of LiteRT files with these samplers."""
    from latentdiff.export.litert.litert import export_litert

    keras.utils.set_random_seed(0)
    pipeline = tiny_text_to_image()
    return lambda name, samplers: (
        pipeline,
        made_once(name, lambda folder: export_litert(pipeline, folder, samplers=samplers)),
    )


@pytest.fixture(scope="session")
def tiny_export(exported):
    """The tiny pipeline and the folder of LiteRT files that it was exported to, with the samplers `EXPORTED`."""
    return exported("edge", EXPORTED)


@pytest.fixture(scope="session")
def whole_export(exported):
    """As `tiny_export`, with all samplers: for slow tests."""
    return exported("edge_with_all_samplers", None)
