"""A progress bar."""

import sys
import time

CLEAR_LINE = "\r\x1b[K"
WIDTH = 24
MAX_SEEDS = 8  # told; each is in its file, too


class ProgressBar:
    """Shows on a terminal how far the work is; silent where the stream is no terminal.

    Args:
        stream: text stream, usually sys.stderr.
    """

    def __init__(self, stream):
        self.stream = stream
        self.shown = stream.isatty()
        self.done = 0
        self.total = 1

    def show(self, text):
        """Replaces what the line says."""
        if self.shown:
            self.stream.write(CLEAR_LINE + text)
            self.stream.flush()

    def start(self, total):
        """Begins a bar of `total` steps."""
        self.total = max(total, 1)  # there is nothing to do for a picture that is only encoded and decoded
        self._first = None
        self._draw("")

    def advance(self):
        """One more step is done. The first one, which compiles, doesn't count for the time that is left."""
        self.done += 1
        now = time.monotonic()
        self._first = self._first or (now, self.done)
        since, steps = now - self._first[0], self.done - self._first[1]
        self._draw(f", {since / steps * (self.total - self.done):.0f} s left" if steps else "")

    def clear(self):
        """Leaves an empty line, for other output."""
        self.show("")

    def tell(self, path):
        """Prints the name of a file that was written, if one was."""
        self.clear()
        if path:
            print(path, flush=True)

    def tell_seeds(self, drawn):
        """Tells the seeds that were drawn, if any were, so that the images can be made again."""
        self.clear()
        if drawn:
            told = ", ".join(map(str, drawn[:MAX_SEEDS])) + (", ..." if len(drawn) > MAX_SEEDS else "")
            print(f"latentdiff: random seed{'s' * (len(drawn) > 1)} {told}", file=sys.stderr)

    def _draw(self, left):
        filled = WIDTH * self.done // self.total
        self.show(f"[{'#' * filled}{' ' * (WIDTH - filled)}] step {self.done} of {self.total}{left}")
