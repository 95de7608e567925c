"""`--textual-inversion FILE`: new words for the preset that a command opens."""

from pathlib import Path

from latentdiff.commands import UsageError

HELP = "file with a new word for prompts; may be given several times"


def add_option(add):
    """Adds `--textual-inversion` to a parser by its `add_argument`."""
    add("--textual-inversion", type=Path, action="append", metavar="FILE", help=HELP)


def check(args):
    """Raises UsageError for a file that is not there."""
    for path in args.textual_inversion or ():
        if not path.is_file():
            raise UsageError(f"--textual-inversion must be a file that exists. Received: {path}")


def load(pipeline, args):
    """Loads the words into a pipeline."""
    for path in args.textual_inversion or ():
        pipeline.load_textual_inversion(path)


def record(args):
    """What is recorded of the words in each image."""
    return {"textual_inversion": [str(path) for path in args.textual_inversion]} if args.textual_inversion else {}
