"""Keeps a terminal free of what TensorFlow says while it starts."""

import contextlib
import os
import sys


@contextlib.contextmanager
def quiet_start():
    """Keeps what TensorFlow's C++ code says while it starts off the terminal, unless the user set its level."""
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ or sys.stderr is None:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
