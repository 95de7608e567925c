import os
import random

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
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
