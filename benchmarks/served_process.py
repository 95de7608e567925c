"""A server process that gets new versions of its model, and is killed and started again."""

import shutil
import subprocess
import threading
from pathlib import Path

from latentdiff.whole_files import draft_of


class ServedProcess:
    """Runs a server while a load is on it.

    Args:
        command: list of str, what starts the server.
        base: BASE, the folder of versions that it serves. A new version is a copy of the newest.
        swap_every, kill_every: seconds between two new versions, and between two kills; None for never.
    """

    def __init__(self, command, base, swap_every=None, kill_every=None):
        self.command, self.base = command, Path(base)
        self.periods = ((swap_every, self.swap), (kill_every, self.kill))
        self.swaps = self.kills = 0
        self._over = threading.Event()
        self._start()

    def disturb(self):
        """Begins to swap and to kill, once the server answers."""
        for seconds, act in self.periods:
            if seconds is not None:
                threading.Thread(target=self._repeat, args=(seconds, act), daemon=True).start()

    @property
    def pid(self):
        return self.process.pid

    def swap(self):
        """Adds a version and deletes all but the last two, as a deployment does."""
        versions = sorted(int(path.name) for path in self.base.iterdir() if path.name.isdecimal())
        with draft_of(self.base / str(versions[-1] + 1)) as draft:
            shutil.copytree(self.base / str(versions[-1]), draft, dirs_exist_ok=True)
        for version in versions[:-1]:
            shutil.rmtree(self.base / str(version))
        self.swaps += 1

    def kill(self):
        """Kills the server without warning, and starts it again."""
        self.process.kill()
        self.process.wait()
        self.kills += 1
        self._start()

    def stop(self):
        self._over.set()
        self.process.kill()
        self.process.wait()

    def _start(self):
        self.process = subprocess.Popen(self.command)

    def _repeat(self, seconds, act):
        while not self._over.wait(seconds):
            act()
