"""What images are asked for: from the options and from a file of prompts, as one request."""

import argparse
import json
from pathlib import Path

from latentdiff.commands import UsageError
from latentdiff.settings.request import Request
from latentdiff.settings.table import SETTINGS, Pair

# The rows of the table that are options; prompts are arguments.
OPTIONS = [row for row in SETTINGS.values() if row.name != "prompts"]
KEYS = {row.key: row for row in SETTINGS.values() if row.each}  # of an entry in a prompts file
MAX_FILE_BYTES = 10_000_000  # of a prompts file: in memory JSON takes many times its size
METAVARS = {int: "N", float: "X", str: "P", tuple: ("LOW", "HIGH"), Pair: ("Y", "X")}
NUMBERS = {tuple: float, Pair: int}  # of which a value has two


class Number:
    """A `type` of argparse: a number in [low, high].

    Args:
        kind: int or float.
        low, high: the range; no `high` is no limit.
    """

    def __init__(self, kind, low, high=None):
        self.kind, self.low = kind, low
        self.high = float("inf") if high is None else high
        noun = "a whole number" if kind is int else "a number"
        self.expected = f"{noun} of at least {low}" if high is None else f"{noun} from {low} to {high}"

    def __call__(self, text):
        try:
            value = self.kind(text)
        except ValueError:
            value = self.low - 1
        if not self.low <= value <= self.high or value == float("inf"):
            raise argparse.ArgumentTypeError(f"must be {self.expected}. Received: {text!r}")
        return value


def add_setting(add, row):
    """Adds the option of a row of the table to a parser."""
    name = f"--{row.key.replace('_', '-')}"
    if row.kind is bool:
        add(name, action="store_true", default=None, dest=row.name, help=row.help)
    elif row.choices:
        add(name, choices=row.choices, dest=row.name, help=f"{row.help} (default: the preset's)")
    else:
        nargs = {"nargs": 2} if row.shape else {}
        told = row.help if row.default == "" or row.needs else f"{row.help} (default: {DEFAULTS[row.default]})"
        parse = NUMBERS.get(row.kind) or _parser(row)
        add(name, type=parse, metavar=METAVARS[row.kind], dest=row.name, help=told, **nargs)


DEFAULTS = {"preset": "the preset's", "drawn": "a random one, which is printed"}


def _parser(row):
    def parse(text):
        try:
            return row.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{error}. Received: {text!r}") from error

    return parse


def read_request(args):
    """The `Request` of all images that the arguments and the prompts file ask for.

    Raises:
        UsageError: there is no prompt, or something is wrong with one.
    """
    entries = [_entry(prompt, "a prompt") for prompt in args.prompts]
    entries += [] if args.prompts_file is None else _read_file(args.prompts_file)
    if not entries:
        raise UsageError("there is no prompt: give at least one, or --prompts-file FILE")
    options = {row.name: getattr(args, row.name) for row in OPTIONS}
    for key, row in KEYS.items():
        options[row.name] = [entry.get(key, options.get(row.name)) for entry in entries]
    try:
        return Request.build(num_images=args.num_images, **options)
    except ValueError as error:
        raise UsageError(error) from error


def _read_file(path):
    """The entries of a prompts file: dicts by the keys of the settings, each checked by itself."""
    try:
        if (size := Path(path).stat().st_size) > MAX_FILE_BYTES:
            raise UsageError(f"--prompts-file {path} must have at most {MAX_FILE_BYTES} bytes. Received: {size} bytes")
        entries = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"--prompts-file {path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # of JSON or of UTF-8
        raise UsageError(f"--prompts-file {path} is not JSON: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"--prompts-file {path} must hold a list of at least one prompt")
    return [_entry(entry, f"--prompts-file {path}: entry {number}") for number, entry in enumerate(entries, 1)]


def _entry(entry, where):
    entry = {"prompt": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or "prompt" not in entry:
        raise UsageError(f"{where} must be text or an object with a `prompt`. Received: {entry!r}")
    if isinstance(entry["prompt"], str) and not entry["prompt"].strip():
        raise UsageError(f"{where} must not be empty. Received: {entry['prompt']!r}")
    unknown = sorted(entry.keys() - KEYS.keys())
    if unknown:
        raise UsageError(f"{where} has unknown keys {unknown}; known are {list(KEYS)}")
    try:
        for key, value in entry.items():
            if value is None:
                raise ValueError(f"`{key}` must be {KEYS[key].expected}. Received: {key}=None")
        Request.build(**{KEYS[key].name: [value] for key, value in entry.items()})
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error
    return entry
