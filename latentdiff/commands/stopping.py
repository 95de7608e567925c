"""How commands end that are stopped: SIGTERM as cleanly as Ctrl-C, whatever they do."""

import contextlib
import signal
import threading


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
