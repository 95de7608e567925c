"""The `latentdiff` command."""

import argparse
import contextlib
import sys
import warnings
from pathlib import Path

from latentdiff.commands import (
    UsageError,
    app,
    explain,
    export,
    generate,
    import_weights,
    info,
    lora,
    push,
    train,
    words,
)
from latentdiff.commands.console import is_terminal, prepare, say
from latentdiff.commands.preset import add_tile_size
from latentdiff.commands.prompts import OPTIONS, Number, add_setting
from latentdiff.commands.stopping import Stopping
from latentdiff.version import __version__

DEFAULT_PRESET = "emoji-128"
LONGEST_ERROR = 600
CLEAR_LINE = "\r\x1b[K"

GENERATE_EPILOG = """\
where the images go:
  one image       a file such as a-red-apple-3d-seed-7.png in the current folder, or --output FILE.png
  several, --grid   a folder of such files with manifest.json, the list of their settings; or --output FOLDER
  --output FILE.png with several images or --grid: one grid of all of them
A file that --output or --trajectory names is replaced. Any other that exists is kept: a different image of the same
name gets -2, -3, ... appended, and a manifest that exists is added to.

prompts file:
  a JSON list of texts, or of objects such as {"prompt": "a red apple, 3d", "seed": 7, "negative_prompt": "green",
  "num_steps": 20, "guidance_scale": 3.0}. All but the prompt may be left out; the options then apply.

weights in prompts:
  "(red:1.5) apple" makes red count more, (red:0.5) less; "red apple:0.7 | green apple:0.3" is a mixture of both.
  Other parentheses are plain text; a backslash in front of ( ) : | makes them so.

images to begin with:
  --init-image must have the proportions of the model's images, and is resized to their size. It is put on white
  where it is transparent; a mask is white where it is transparent.

exit codes: 0 done, 1 failed (images made before are kept), 2 wrong usage, 130 interrupted, 143 terminated

example:
  latentdiff generate "a red apple, 3d" "a smiling cat, flat" --num-images 2 --seed 7 --output out --grid

with --server, --preset is the name of the model there, and no model is needed here
"""


def main(argv=None):
    """Runs the command with these arguments (default: those of the shell) and returns the exit code."""
    prepare()
    return _ended(lambda: _run(_parser().parse_args(argv)))


def run(args):
    """Runs `args.run(args)` and returns the exit code; what goes wrong is said in one line on stderr."""
    return _ended(lambda: _run(args))


def _run(args):
    with _one_line_warnings():
        args.run(args)


def _ended(work):
    """Runs `work()` and returns the exit code."""
    stopping = Stopping()
    try:
        with stopping:
            work()
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "interrupted", stopping.exit_code or 130)
    except Exception as error:
        if stopping.number is not None:  # native code made this error of the signal
            return _fail(stopping.told, stopping.exit_code)
        if isinstance(error, UsageError):
            return _fail(error, 2)
        if isinstance(error, (ValueError, OSError, MemoryError)):
            return _fail(str(error) or type(error).__name__, 1)
        raise
    return 0


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, takes options as they are written, and leaves the lines of an epilog alone."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)

    def error(self, message):
        self.exit(2, f"latentdiff: error: {_one_line(message)} (see {self.prog} --help)\n")


def _parser():
    parser = _Parser(prog="latentdiff", description="Makes images from words.")
    parser.add_argument("--version", action="version", version=f"latentdiff {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_generate(commands)
    app.add_parser(commands, DEFAULT_PRESET, _PRESET_HELP)
    train.add_parser(commands)
    explain.add_parser(commands, DEFAULT_PRESET, _PRESET_HELP)
    export.add_parser(commands, DEFAULT_PRESET, _PRESET_HELP)
    import_weights.add_parser(commands)
    push.add_parser(commands, _PRESET_HELP)
    told = "Prints the card of a preset, or the settings of a PNG that this or another program made."
    command = commands.add_parser("info", help="tell what a preset is, or how an image was made", description=told)
    command.add_argument("preset", nargs="?", default=DEFAULT_PRESET, metavar="PRESET_OR_PNG", help=_PRESET_HELP)
    command.set_defaults(run=info.run)
    return parser


_PRESET_HELP = f"name of a shipped preset, a folder, hf://OWNER/NAME or kaggle://... (default: {DEFAULT_PRESET})"


def _add_generate(commands):
    command = commands.add_parser(
        "generate",
        help="make images from prompts",
        description="Makes images from prompts and prints the names of the files written.",
        epilog=GENERATE_EPILOG,
    )
    add = command.add_argument
    add("prompts", nargs="*", metavar="PROMPT", help="what an image should show; quote it")
    add("--prompts-file", type=_path, metavar="FILE", help="JSON list of further prompts, see below")
    add("--preset", default=DEFAULT_PRESET, metavar="NAME_OR_FOLDER", help=_PRESET_HELP)
    lora.add_option(add)
    words.add_option(add)
    add("--num-images", type=Number(int, 1), default=1, metavar="N", help="images per prompt (default: 1)")
    for row in OPTIONS:
        add_setting(add, row)
    add("--init-image", type=_path, metavar="FILE", help="an image to begin with; resized if the model needs it")
    add("--mask", type=_path, metavar="FILE", help="paint only where this image, of the same size, is white")
    add_tile_size(add)
    add("--output", type=_path, metavar="FILE_OR_FOLDER", help="a .png file or a folder, see below")
    add("--grid", action="store_true", help="also write grid.png, an image of all images")
    add("--trajectory", type=_path, metavar="FILE.gif", help="also write how the first image forms")
    add("--server", metavar="HOST:PORT", help="let a server make the images, by gRPC, or REST at http://HOST:PORT")
    add("--timeout", type=Number(float, 0.001), default=120.0, metavar="S", help="of --server, seconds (default: 120)")
    command.set_defaults(run=generate.run)


def _path(text):
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return Path(text)


@contextlib.contextmanager
def _one_line_warnings():
    def show(message, category, filename, lineno, file=None, line=None):
        say(f"{_clear()}latentdiff: warning: {_one_line(message)}", sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _fail(error, code):
    say(f"{_clear()}latentdiff: error: {_one_line(error)}", sys.stderr)
    return code


def _clear():
    return CLEAR_LINE if is_terminal(sys.stderr) else ""


def _one_line(message):
    text = " ".join(str(message).split())
    return text if len(text) <= LONGEST_ERROR else text[:LONGEST_ERROR] + " ..."
