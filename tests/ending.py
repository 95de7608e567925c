"""How commands end that are stopped at random moments, or find a full or a read-only disk.

    PYTHONPATH=.:tests python tests/ending.py 20 generate

runs the named commands (default: all) so often under SIGINT and under SIGTERM, and once on a full and on a read-only
disk, which needs root; and prints how they ended. Each run is a fork of a process
that has imported everything and has done nothing yet, so that the moments fall into the work and not into imports.
"""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

from PIL import Image

DISKS = {"full": ("size=40k",), "read-only": ("ro",)}
EARLIEST = 0.02  # seconds, until the command has begun to listen to signals
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def forked(arguments, errors, number=None, after=0.0):
    """The exit code of a command in a fork, which gets a signal so many seconds after it began."""
    begun, begins = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _run(arguments, errors, begins)
    os.read(begun, 1)
    os.close(begun)
    os.close(begins)
    timer = threading.Timer(after, _send, (child, number))
    if number is not None:
        timer.start()
    _, status = os.waitpid(child, 0)
    timer.cancel()
    return os.waitstatus_to_exitcode(status)


def _send(child, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


def _run(arguments, errors, begins):
    """Runs a command in this process, as a shell would, and ends the process."""
    stream = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    code = 99
    try:
        import tensorflow as tf

        from latentdiff import cli

        tf.config.run_functions_eagerly(True)  # tracing takes longer than a tiny model's work
        os.write(begins, b"x")
        code = cli.main([*map(str, arguments)])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def partial_files(folder):
    """Files below a folder that are drafts, or that can't be read as what their ending says."""
    found = []
    for path in Path(folder).rglob("*"):
        try:
            if ".draft-" in str(path):
                raise ValueError
            if path.suffix == ".png":
                Image.open(path).load()
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix in (".h5", ".keras") and not path.stat().st_size:
                raise ValueError
        except (OSError, ValueError):
            found.append(str(path))
    return found


class Counts:
    """How runs of one command ended."""

    def __init__(self):
        self.codes, self.tracebacks, self.partial = {}, 0, []

    def add(self, code, errors, folder):
        self.codes[code] = self.codes.get(code, 0) + 1
        self.tracebacks += "Traceback" in Path(errors).read_text(errors="replace")
        self.partial += partial_files(folder)

    def __str__(self):
        return f"exit codes {self.codes}, {self.tracebacks} tracebacks, {len(self.partial)} partial files"


def stopped(arguments, number, times, seed=0):
    """`Counts` of runs that get a signal at random moments. `arguments` is a function of the folder to write into."""
    rng, counts = random.Random(seed), Counts()
    with tempfile.TemporaryDirectory() as place:
        errors, folder = Path(place) / "errors", Path(place) / "work"
        folder.mkdir()
        start = time.monotonic()
        code = forked(arguments(folder), errors)
        seconds = time.monotonic() - start
        if code:
            raise RuntimeError(f"it fails by itself: {errors.read_text()}")
        for _ in range(times):
            shutil.rmtree(folder)
            folder.mkdir()
            counts.add(forked(arguments(folder), errors, number, rng.uniform(EARLIEST, seconds)), errors, folder)
    return counts


@contextlib.contextmanager
def disk(*options):
    """An empty disk in memory, mounted with these options."""
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", place], check=True)
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", place], check=True)


def on_a_disk(arguments, *options):
    """`Counts` of a run that writes to a `disk`."""
    counts = Counts()
    with tempfile.TemporaryDirectory() as place, disk(*options) as folder:
        errors = Path(place) / "errors"
        counts.add(forked(arguments(folder), errors), errors, folder)
        counts.said = errors.read_text().splitlines()[-1].replace(str(folder), "FOLDER")
    return counts


def make_inputs(folder):
    """A tiny preset, an experiment, and images to train on: the `arguments` of commands that use them, by name."""
    from tiny_run import CAPTIONS, write_experiment

    write_experiment(folder / "experiment.py", 1e-3)
    (folder / "mine").mkdir()
    for row, caption in enumerate(CAPTIONS):
        Image.new("RGB", (8, 8), (60 * row, 9, 9)).save(folder / "mine" / f"{row}.png")
        (folder / "mine" / f"{row}.txt").write_text(caption)
    preset, train = folder / "tiny", ["--experiment", folder / "experiment.py", "--data", folder / "mine"]
    if (child := os.fork()) == 0:  # so that this process stays without TensorFlow's threads
        from harness import tiny_text_to_image

        with contextlib.redirect_stderr(io.StringIO()):
            tiny_text_to_image().save_to_preset(preset)
        os._exit(0)
    os.waitpid(child, 0)
    return {
        "generate": lambda out: ["generate", "a cat", "--num-images", 20, "--preset", preset, "--output", out / "made"],
        "train autoencoder": lambda out: ["train", "autoencoder", *train, "--output", out / "run"],
        "info": lambda out: ["info", preset],
    }


def main():
    import keras_hub  # noqa: F401

    import latentdiff.recipes.autoencoder
    import latentdiff.recipes.run  # noqa: F401

    times, *names = sys.argv[1:]
    times = int(times)
    with tempfile.TemporaryDirectory() as folder:
        made = make_inputs(Path(folder))
        for name, arguments in ((name, made[name]) for name in names or made):
            for disk_of, options in DISKS.items():
                counts = on_a_disk(arguments, *options)
                print(f"{name}, {disk_of} disk: {counts}: {counts.said}", flush=True)
            for number in CODES:
                print(f"{name}, {number.name}: {stopped(arguments, number, times)}", flush=True)


if __name__ == "__main__":
    main()
