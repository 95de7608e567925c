"""How commands end that are stopped: SIGTERM as cleanly as Ctrl-C, whatever they do."""

import contextlib
import os
import signal
import sys
import threading

AGAIN = 0.05  # seconds until a signal is sent again


class Terminated(KeyboardInterrupt):
    """SIGTERM came. It unwinds like Ctrl-C, so that drafts are removed and backups are kept."""


def exit_code(stop):
    """The exit code of a command that a KeyboardInterrupt ended, as of shells: 128 + the number of the signal."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


@contextlib.contextmanager
def stopped_by_sigterm():
    """Raises `Terminated` at SIGTERM while this runs; not where someone else handles it, or outside the main thread."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def stop(number, frame):
        raise Terminated("terminated")

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def no_signal_lost():
    """While this runs, a stop that Python swallows, as all that is raised within `__del__`, is sent again."""
    before, timers = sys.unraisablehook, []

    def hook(unraisable):
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            before(unraisable)
            return
        number = exit_code(unraisable.exc_value) - 128
        timers.append(threading.Timer(AGAIN, os.kill, (os.getpid(), number)))
        timers[-1].start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in timers:
            timer.cancel()
