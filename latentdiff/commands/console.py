"""What commands say. A console may lack characters, be closed or go away: no print ends a command."""

import contextlib
import os
import sys

MAX_SEEDS = 8  # told; each is in its file, too


def prepare():
    """Makes the standard streams take any text, and keeps files from getting the number of a closed one."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(errors="backslashreplace")


def say(text, stream=None):
    """Prints a line, by default on stdout; silent where the stream is gone."""
    stream = sys.stdout if stream is None else stream
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        _forget(stream)
    except (AttributeError, OSError, ValueError, UnicodeError):
        pass


def _forget(stream):
    """Lets later writes to a stream whose reader is gone go nowhere, those at the end of Python included."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def is_terminal(stream):
    """Whether a stream is a terminal that knows more than plain lines."""
    try:
        shown = stream.isatty()
    except (AttributeError, ValueError):
        return False
    return shown and (os.name == "nt" or os.environ.get("TERM", "") not in ("", "dumb"))
