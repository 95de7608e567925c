"""How commands end that are stopped: SIGTERM as cleanly as Ctrl-C, whatever they do."""

import os
import signal
import sys
import threading

AGAIN = 0.05  # seconds until a signal is sent again


class Terminated(KeyboardInterrupt):
    """SIGTERM came. It unwinds like Ctrl-C, so that drafts are removed and backups are kept."""


# What each signal raises, what is said of it, and who handles it unless somebody else does.
STOPS = {
    signal.SIGINT: (KeyboardInterrupt, "interrupted", signal.default_int_handler),
    signal.SIGTERM: (Terminated, "terminated", signal.SIG_DFL),
}


class Stopping:
    """While it is entered, SIGINT and SIGTERM raise a KeyboardInterrupt, and none is lost.

    Native code that calls Python can make another error of it, and `__del__` swallows it: `number` says that a signal
    came, and one that was swallowed is sent again. A signal that somebody else handles stays with them, and so do all
    outside of the main thread.
    """

    def __init__(self):
        self.number = None

    @property
    def exit_code(self):
        """That of a command which the signal ended, as of shells: 128 + its number; None if none came."""
        return None if self.number is None else 128 + self.number

    @property
    def told(self):
        """What the command says then."""
        return STOPS[self.number][1]

    def __enter__(self):
        in_main = threading.current_thread() is threading.main_thread()
        self._ours = [number for number in STOPS if in_main and signal.getsignal(number) == STOPS[number][2]]
        for number in self._ours:
            signal.signal(number, self._stop)
        self._hook, sys.unraisablehook = sys.unraisablehook, self._send_again
        self._timers = []
        return self

    def __exit__(self, *error):
        for timer in self._timers:
            timer.cancel()
        sys.unraisablehook = self._hook
        for number in self._ours:
            signal.signal(number, STOPS[number][2])

    def _stop(self, number, frame):
        self.number = number
        raise STOPS[number][0](STOPS[number][1])

    def _send_again(self, unraisable):
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            self._hook(unraisable)
            return
        self._timers.append(threading.Timer(AGAIN, os.kill, (os.getpid(), self.number or signal.SIGINT)))
        self._timers[-1].start()
