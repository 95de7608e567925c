"""How fast a SavedModel makes images, beside Keras' own loop and diffusers' U-Net in PyTorch.

    python -m benchmarks.serving --model models/emoji-128/1 --torch-python PYTHON

All sides run in turn, round after round. SavedModel and Keras make whole images (text encoder, loop, decoder);
PyTorch runs its loop only. So the SavedModel's loop is shown too: its whole time, less the median of text encoder and
decoder, which are measured after the rounds. PYTHON is one that has torch and diffusers; without it the three PyTorch
sides are left out. Minutes on 2 cores, half of it compiling.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

PROMPT = "a red apple, 3d"
SHAPE = ("latent_shape", "context_dim", "num_tokens", "widths", "num_blocks", "attention_levels", "num_heads")
SHAPE += ("linear_projection", "expansion", "groups")
TORCH_SIDES = {"eager": "PyTorch, eager", "compiled": "PyTorch, compiled", "frozen": "PyTorch, compiled and frozen"}


class SavedModel:
    """A SavedModel as it is served: by its signatures."""

    def __init__(self, folder):
        import tensorflow as tf
        import tensorflow_text  # noqa: F401  its kernels

        self.loaded = tf.saved_model.load(str(folder))

    def call(self, name, **inputs):
        import tensorflow as tf

        outputs = self.loaded.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
        return {key: value.numpy() for key, value in outputs.items()}

    def seconds(self, batch, steps):
        start = time.perf_counter()
        settings = {"seeds": list(range(batch)), "num_steps": [steps] * batch, "guidance_scale": [3.0] * batch}
        self.call("serving_default", prompts=[PROMPT] * batch, negative_prompts=[""] * batch, **settings)
        return time.perf_counter() - start

    def seconds_of_the_rest(self, batch, latent_shape):
        """Of text encoder and decoder, which `seconds` includes."""
        import numpy as np

        start = time.perf_counter()
        self.call("encode_text", prompts=[PROMPT] * batch + [""] * batch)
        self.call("decode", latents=np.zeros((batch, *latent_shape), "float32"))
        return time.perf_counter() - start


class Keras:
    """`TextToImage.generate`."""

    def __init__(self, pipeline):
        self.pipeline = pipeline

    def seconds(self, batch, steps):
        start = time.perf_counter()
        self.pipeline.generate([PROMPT] * batch, seed=list(range(batch)), num_steps=steps, guidance_scale=3.0)
        return time.perf_counter() - start


class Torch:
    """One mode of `benchmarks/torch_unet.py`, which runs in a process of its own."""

    def __init__(self, process, mode):
        self.process = process
        self.mode = mode

    def seconds(self, batch, steps):
        return ask(self.process, {"mode": self.mode, "batch": batch, "steps": steps})["seconds"]


def start_torch(python, unet, **environment):
    """The PyTorch process, and the number of parameters of its U-Net."""
    script = str(Path(__file__).with_name("torch_unet.py"))
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": {**os.environ, **environment}}
    process = subprocess.Popen([python, script], **options)
    return process, ask(process, {name: getattr(unet, name) for name in SHAPE})["parameters"]


def ask(process, request):
    try:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except BrokenPipeError:
        line = ""
    if not line:
        process.communicate()  # waits, and closes the pipes
        raise RuntimeError(f"PyTorch stopped with exit code {process.returncode}")
    return json.loads(line)


def measure(sides, batches, steps, rounds):
    """Seconds of each round by (name of a side, batch); the sides take turns."""
    for side in sides.values():
        for batch in batches:
            side.seconds(batch, 1)  # traces, compiles
    times = {}
    for _ in range(rounds):
        for batch in batches:
            for name, side in sides.items():
                times.setdefault((name, batch), []).append(side.seconds(batch, steps))
    return times


def measure_start(folder):
    """Of a fresh process that loads the SavedModel: seconds to load and to the first image, megabytes of memory."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving", "--model", str(folder), "--start-only"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def start_only(folder):
    import tensorflow as tf
    import tensorflow_text  # noqa: F401

    tf.constant(0)
    before = megabytes()
    start = time.perf_counter()
    model = SavedModel(folder)
    loaded = time.perf_counter() - start
    model.seconds(1, 1)
    first = time.perf_counter() - start
    model.seconds(8, 2)
    print(json.dumps({"load": loaded, "first_picture": first, "before": before, "after": megabytes()}))


def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(seconds, batches, steps):
    """Markdown of what was measured."""
    head = "".join(f" s/image, batch {batch} | images/s, batch {batch} |" for batch in batches)
    lines = [f"| {steps} steps |{head}", "|---" * (1 + 2 * len(batches)) + "|"]
    for name in dict.fromkeys(name for name, _ in seconds):
        cells = "".join(f" {seconds[name, n] / n:.3f} | {n / seconds[name, n]:.2f} |" for n in batches)
        lines.append(f"| {name} |{cells}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="BASE/VERSION of latentdiff export saved-model")
    parser.add_argument("--preset", default="emoji-128", help="the preset that it was made of")
    parser.add_argument("--torch-python", help="a Python that has torch and diffusers")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--start-only", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.start_only:
        return start_only(args.model)

    print("start:", json.dumps(measure_start(args.model)), flush=True)
    size = sum(path.stat().st_size for path in args.model.rglob("*") if path.is_file())
    print(f"size: {size / 2**20:.0f} MiB", flush=True)
    from latentdiff import TextToImage

    pipeline = TextToImage.from_preset(args.preset)
    saved = SavedModel(args.model)
    sides = {"SavedModel": saved, "Keras, `generate`": Keras(pipeline)}
    if args.torch_python:
        process, parameters = start_torch(args.torch_python, pipeline.model.unet)
        print(f"parameters of the U-Net: {pipeline.model.unet.count_params()}, of diffusers': {parameters}", flush=True)
        sides |= {name: Torch(process, mode) for mode, name in TORCH_SIDES.items()}
    times = measure(sides, args.batches, args.steps, args.rounds)
    for batch in args.batches:
        rest = statistics.median(
            saved.seconds_of_the_rest(batch, pipeline.latent_shape) for _ in range(args.rounds + 1)
        )
        times["SavedModel, loop only", batch] = [value - rest for value in times["SavedModel", batch]]
    # On a machine that others use the fastest round says more.
    for name, summary in (("median", statistics.median), ("fastest", min)):
        seconds = {key: summary(values) for key, values in times.items()}
        print(f"{name} of {args.rounds} rounds:\n{table(seconds, args.batches, args.steps)}", flush=True)


if __name__ == "__main__":
    main()
