"""`--lora FILE:SCALE`: adapters for the preset that a command opens."""

import argparse
import math
from pathlib import Path

from latentdiff.commands import UsageError

HELP = "LoRA file, and how strong it is (default: 1.0); may be given several times"


def add_option(add):
    """Adds `--lora` to a parser by its `add_argument`."""
    add("--lora", type=_file_and_scale, action="append", metavar="FILE[:SCALE]", help=HELP)


def check(args):
    """Raises UsageError for a file that is not there."""
    for path, _ in args.lora or ():
        if not path.is_file():
            raise UsageError(f"--lora must be a file that exists. Received: {path}")


def load(pipeline, args):
    """Loads the adapters into a pipeline."""
    for path, scale in args.lora or ():
        pipeline.load_lora(path, scale)


def record(args):
    """What is recorded of the adapters in each image."""
    return {"lora": [f"{path}:{scale:g}" for path, scale in args.lora]} if args.lora else {}


def _file_and_scale(text):
    """A `type` of argparse: (Path, float). A colon in front of anything but a number belongs to the name."""
    head, _, tail = text.rpartition(":")
    try:
        path, scale = head, float(tail)
    except ValueError:
        path, scale = text, 1.0
    if not path or not math.isfinite(scale):
        raise argparse.ArgumentTypeError(f"must be FILE or FILE:SCALE with a finite number. Received: {text!r}")
    return Path(path), scale
