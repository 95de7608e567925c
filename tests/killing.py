"""A process that is killed, as by SIGKILL, at the n-th thing that it does to the files in a folder."""

import os
import signal
import sys

EVENTS = {"open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate"}
ARRAYS = 40  # of an HDF5 file from one count to the next


class Killer:
    """Counts what is done to files below a folder: opening, renaming, linking, removing, some arrays of HDF5 files.

    Args:
        folder: str or Path.
        at: the process ends at this count; None only counts. Readers count too: they do no harm.
    """

    def __init__(self, folder, at=None):
        import h5py

        self.folder, self.at, self.count, self.arrays = str(folder), at, 0, 0
        sys.addaudithook(self._hear)
        create = h5py.Group.create_dataset

        def counted(*args, **kwargs):
            self.arrays += 1
            if self.arrays % ARRAYS == 0:
                self._step()
            return create(*args, **kwargs)

        h5py.Group.create_dataset = counted

    def _hear(self, event, args):
        is_path = event in EVENTS and isinstance(args[0], (str, bytes, os.PathLike))
        if is_path and os.fsdecode(args[0]).startswith(self.folder):
            self._step()

    def _step(self):
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def killed_at(count, folder, work):
    """Runs `work()` in a fork of this process that is killed at `count`; whether it was."""
    child = os.fork()
    if child == 0:
        Killer(folder, count)
        try:
            work()
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    if status:
        raise RuntimeError(f"the fork ended with status {status}")
    return False
