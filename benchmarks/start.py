"""How long a first image takes, from nothing: seconds, and as multiples of `import tensorflow`.

    python -m benchmarks.start [PRESET] [--saved-model FOLDER/1] [--litert FOLDER]

Each measure is a process of its own. All take turns, round after round, and medians are shown, so that a machine
which is busy for a while slows all of them. Files are in the system's cache after the first, uncounted round.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROMPT = "a red apple, 3d"
TENSORFLOW = "import tensorflow"

OPEN = """
import json, sys, time
import keras_hub, tensorflow
from latentdiff import TextToImage
start = time.perf_counter()
pipeline = TextToImage.from_preset(sys.argv[1])
seconds = {"open the preset": time.perf_counter() - start}
for seed, (name, count) in enumerate({"first image": 1, "second image": 1, "first 4 images": 4, "next 4": 4}.items()):
    start = time.perf_counter()
    pipeline.generate([sys.argv[2]] * count, seed=seed)
    seconds[name] = time.perf_counter() - start
print(json.dumps(seconds))
"""

SAVED_MODEL = """
import json, sys, time
import tensorflow as tf
import tensorflow_text
start = time.perf_counter()
loaded = tf.saved_model.load(sys.argv[1])
seconds = {"load the SavedModel": time.perf_counter() - start}
start = time.perf_counter()
loaded.signatures["serving_default"](prompts=tf.constant([sys.argv[2]]))
seconds["its first request"] = time.perf_counter() - start
print(json.dumps(seconds))
"""


def measures(args, folder):
    """{name of a whole process: its command}."""
    commands = {
        TENSORFLOW: ["-c", TENSORFLOW],
        "latentdiff generate": ["-m", "latentdiff", "generate", PROMPT, "--preset", args.preset, "--output", folder],
        "within Python": ["-c", OPEN, args.preset, PROMPT],
    }
    if args.saved_model:
        commands["within a server"] = ["-c", SAVED_MODEL, args.saved_model, PROMPT]
    if args.litert:
        image = str(Path(folder) / "edge.png")
        commands["edge.py"] = [str(Path(args.litert) / "edge.py"), PROMPT, "--output", image]
    return commands


def timed(command):
    """{name: seconds} of what a process says, or None if it says no JSON; and its whole time."""
    start = time.perf_counter()
    result = subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True)
    whole = time.perf_counter() - start
    said = result.stdout.strip().rpartition("\n")[2]
    return whole, json.loads(said) if said.startswith("{") else {}


def measure(commands, rounds):
    """{name: list of seconds}, one round more than is kept."""
    seconds = {}
    for index in range(rounds + 1):
        for name, command in commands.items():
            whole, parts = timed(command)
            for part, value in (parts or {name: whole}).items():
                seconds.setdefault(part, []).extend([value] if index else [])
    return seconds


def table(seconds):
    """Markdown: medians, and what they are of the time that TensorFlow's import takes."""
    unit = statistics.median(seconds[TENSORFLOW])
    lines = ["| | seconds | of `import tensorflow` |", "|---|---|---|"]
    for name, values in seconds.items():
        median = statistics.median(values)
        lines.append(f"| {name} | {median:.2f} | {median / unit:.2f} |")
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default="emoji-128", help="name or folder of a preset")
    parser.add_argument("--saved-model", help="folder of one version of an exported SavedModel")
    parser.add_argument("--litert", help="folder of exported LiteRT files")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (5)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        print(table(measure(measures(args, folder), args.rounds)))


if __name__ == "__main__":
    main()
