"""Keeps a terminal free of what libraries say while they start."""

import contextlib
import logging
import os
import sys


@contextlib.contextmanager
def quiet_start():
    """Keeps what TensorFlow's C++ code says while it starts off the terminal, unless the user set its level."""
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ or sys.stderr is None:
        with no_warnings_of_absl():
            yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        with no_warnings_of_absl():
            yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


@contextlib.contextmanager
def no_warnings_of_absl():
    """KerasHub imports grain where it is installed, which warns by absl that it has no profiler where JAX is not."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
