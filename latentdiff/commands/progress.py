"""A progress bar."""

import sys

from latentdiff.commands.console import MAX_SEEDS, is_terminal, say


class ProgressBar:
    """Shows on a terminal how far the work is; silent where the stream is none.

    Args:
        stream: text stream, usually sys.stderr.
    """

    def __init__(self, stream):
        self._stream = stream
        self._shown = is_terminal(stream)
        self._bar = None

    def show(self, text):
        """Replaces what the line says."""
        self._replace(desc=text, bar_format="{desc}")

    def start(self, total):
        """Begins a bar of `total` steps."""
        self._replace(total=max(total, 1), unit="step")  # an image that is only encoded and decoded has none

    def advance(self):
        """One more step is done."""
        if self._bar is not None:
            self._bar.update()

    def clear(self):
        """Leaves an empty line, for other output."""
        if self._bar is not None:
            self._bar.clear()

    def close(self):
        """Ends the bar and leaves an empty line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def tell(self, path):
        """Prints the name of a file that was written, if one was."""
        self.clear()
        if path:
            say(path)

    def tell_seeds(self, drawn):
        """Tells the seeds that were drawn, if any were, so that the images can be made again."""
        self.clear()
        if drawn:
            told = ", ".join(map(str, drawn[:MAX_SEEDS])) + (", ..." if len(drawn) > MAX_SEEDS else "")
            say(f"latentdiff: random seed{'s' * (len(drawn) > 1)} {told}", sys.stderr)

    def _replace(self, **options):
        self.close()
        if self._shown:
            from tqdm import tqdm

            self._bar = tqdm(file=self._stream, leave=False, dynamic_ncols=True, mininterval=0.0, **options)
