"""How commands end that are stopped at random moments, or find a full or a read-only disk.

    PYTHONPATH=.:tests python tests/ending.py 20 generate

runs the named commands (default: all) so often under SIGINT and under SIGTERM, and once on a full and on a read-only
disk, which needs root; and prints how they ended. Each run is a fork of a process that has imported everything and has
done nothing yet, so that the moments fall into the work and not into imports.
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

DISKS = ("full", "read-only")
ROOM = 40_000  # bytes left on a full disk
EARLIEST = 0.02  # seconds, until the command has begun to listen to signals
AT_ITS_END = 0.5  # seconds; a command that has nothing more to lose may end as done
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def forked(arguments, errors, number=None, after=0.0):
    """The exit code of a command in a fork, which gets a signal so many seconds after it began, and its seconds."""
    begun, begins = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _run(arguments, errors, begins)
    os.read(begun, 1)
    os.close(begun)
    os.close(begins)
    timer, start = threading.Timer(after, _send, (child, number)), time.monotonic()
    if number is not None:
        timer.start()
    _, status = os.waitpid(child, 0)
    timer.cancel()
    return os.waitstatus_to_exitcode(status), time.monotonic() - start


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

        # Tracing takes longer than a tiny model's work; exports need it.
        tf.config.run_functions_eagerly(arguments[0] != "export")
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
        self.codes, self.tracebacks, self.partial, self.ignored = {}, [], [], []

    def add(self, code, errors, folder):
        self.codes[code] = self.codes.get(code, 0) + 1
        text = Path(errors).read_text(errors="replace")
        self.tracebacks += [text] if "Traceback" in text else []
        self.partial += partial_files(folder)

    def __str__(self):
        ignored = "".join(f", went on for {seconds:.1f} s and ended with 0" for seconds in self.ignored)
        return f"exit codes {self.codes}, {len(self.tracebacks)} tracebacks, {len(self.partial)} partial files{ignored}"


class Command:
    """A command to be stopped.

    Args:
        arguments: function from the folder to write into to the arguments.
        prepared: folder of what earlier commands left in the folder to write into.
    """

    def __init__(self, arguments, prepared=None):
        self.arguments = arguments
        self.prepared = prepared

    def prepare(self, folder):
        if self.prepared is not None:
            shutil.copytree(self.prepared, folder, dirs_exist_ok=True)


def stopped(command, number, times, seed=0):
    """`Counts` of runs of a `Command` that get a signal at random moments."""
    rng, counts = random.Random(seed), Counts()
    with tempfile.TemporaryDirectory() as place:
        errors, folder = Path(place) / "errors", Path(place) / "work"
        folder.mkdir()
        command.prepare(folder)
        code, seconds = forked(command.arguments(folder), errors)
        if code:
            raise RuntimeError(f"it fails by itself: {errors.read_text()}")
        for _ in range(times):
            shutil.rmtree(folder)
            folder.mkdir()
            command.prepare(folder)
            after = rng.uniform(EARLIEST, seconds)
            code, lasted = forked(command.arguments(folder), errors, number, after)
            counts.add(code, errors, folder)
            counts.ignored += [lasted - after] if code == 0 and lasted > after + AT_ITS_END else []
    return counts


@contextlib.contextmanager
def disk(kind, prepare):
    """A disk in memory, full or read-only, after `prepare(folder)` has written to it."""
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", place], check=True)
        try:
            prepare(Path(place))
            if kind == "full":
                (Path(place) / "filler").write_bytes(bytes(shutil.disk_usage(place).free - ROOM))
            else:
                subprocess.run(["mount", "-o", "remount,ro", place], check=True)
            yield Path(place)
        finally:
            subprocess.run(["umount", place], check=True)


def on_a_disk(command, kind):
    """`Counts` of a run of a `Command` that writes to a `disk`."""
    counts = Counts()
    with tempfile.TemporaryDirectory() as place, disk(kind, command.prepare) as folder:
        errors = Path(place) / "errors"
        counts.add(forked(command.arguments(folder), errors)[0], errors, folder)
        counts.said = errors.read_text().splitlines()[-1].replace(str(folder), "FOLDER")
    return counts


def in_a_fork(function):
    """So that this process stays without TensorFlow's threads."""
    if (child := os.fork()) == 0:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            function()
        os._exit(0)
    os.waitpid(child, 0)


def make_inputs(folder):
    """A tiny preset, an experiment, and images to train on: the `Command`s that use them, by name."""
    from tiny_run import CAPTIONS, write_experiment

    few = {"autoencoder_epochs": 2, "autoencoder_passes": 1, "epochs": 2, "passes": 1}
    write_experiment(folder / "experiment.py", 1e-3, distilled_steps=(2, 1), **few)
    (folder / "mine").mkdir()
    for row, caption in enumerate(CAPTIONS):
        Image.new("RGB", (8, 8), (60 * row, 9, 9)).save(folder / "mine" / f"{row}.png")
        (folder / "mine" / f"{row}.txt").write_text(caption)
    preset, data = folder / "tiny", ["--data", folder / "mine"]
    diffusers, clip = folder / "diffusers", folder / "clip"

    def train(stage, *options):
        return lambda out: ["train", stage, "--experiment", folder / "experiment.py", "--output", out / "run", *options]

    latents, distilled = train("latents", *data, "--init", preset), ["--init", preset, "--lora-rank", 1]

    def prepare():
        from convert.tiny_folders import golden, write_folder
        from harness import tiny_text_to_image

        from latentdiff import cli

        tiny_text_to_image().save_to_preset(preset)
        write_folder(diffusers, golden("sd1"))
        cli.main(["import", str(diffusers), "--output", str(clip)])
        cli.main([*map(str, latents(folder / "encoded"))])

    in_a_fork(prepare)
    figures = ["explain", "--preset", preset, "--prompts", "a cat", "a red apple", "--only", "trajectory"]
    return {
        "generate": Command(lambda out: [*_generate(preset), "--output", out / "made"]),
        "train autoencoder": Command(train("autoencoder", *data)),
        "train latents": Command(latents),
        "train diffusion": Command(train("diffusion", "--init", preset), folder / "encoded"),
        "train distillation": Command(train("distillation", *distilled), folder / "encoded"),
        "explain": Command(lambda out: [*figures, "--output", out / "figures"]),
        "export diffusers": Command(lambda out: ["export", "diffusers", clip, "--output", out / "exported"]),
        "export saved-model": Command(lambda out: [*_export("saved-model", preset), out / "exported" / "1"]),
        "export litert": Command(lambda out: [*_export("litert", preset), out / "exported", "--samplers", "ddim"]),
        "import": Command(lambda out: ["import", diffusers, "--output", out / "imported"]),
        "info": Command(lambda out: ["info", preset]),
    }


def _generate(preset):
    return ["generate", "a cat", "--num-images", 20, "--preset", preset]


def _export(form, preset):
    return ["export", form, "--preset", preset, "--output"]


def main():
    import keras_hub  # noqa: F401

    import latentdiff.recipes.autoencoder
    import latentdiff.recipes.run  # noqa: F401

    times, *names = sys.argv[1:]
    times = int(times)
    with tempfile.TemporaryDirectory() as folder:
        made = make_inputs(Path(folder))
        for name, command in ((name, made[name]) for name in names or made):
            for kind in DISKS:
                counts = on_a_disk(command, kind)
                print(f"{name}, {kind} disk: {counts}: {counts.said}", flush=True)
            for number in CODES:
                counts = stopped(command, number, times)
                print(f"{name}, {number.name}: {counts}", *counts.tracebacks[:1], flush=True)


if __name__ == "__main__":
    main()
