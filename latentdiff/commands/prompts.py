"""What pictures are asked for: from the arguments and from a file of prompts."""

import argparse
import json
import secrets
from pathlib import Path

from latentdiff.commands import UsageError
from latentdiff.settings.prompt_syntax import parse

MAX_SEED = 2**31 - 1  # noise.MAX_SEED, which is slow to import
RANDOM_SEEDS = 1_000_000  # short enough to be typed again


class Number:
    """A number in [low, high], read from an argument or from JSON.

    Args:
        kind: int or float.
        low, high: the range; no `high` is no limit.
    """

    def __init__(self, kind, low, high=None):
        self.kind = kind
        self.low = low
        self.high = float("inf") if high is None else high
        noun = "a whole number" if kind is int else "a number"
        self.expected = f"{noun} of at least {low}" if high is None else f"{noun} from {low} to {high}"

    def __call__(self, text):
        try:
            return self.check(self.kind(text))
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"must be {self.expected}. Received: {text!r}") from error

    def check(self, value):
        """`value` as a number of this kind; ValueError if it is none, or out of range."""
        kinds = (int,) if self.kind is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not self.low <= value <= self.high:
            raise ValueError(f"must be {self.expected}. Received: {value!r}")
        return self.kind(value)


class Text:
    """Any text, as a JSON value."""

    def check(self, value):
        if not isinstance(value, str):
            raise ValueError(f"must be text. Received: {value!r}")
        return value


class Prompt(Text):
    """Text that says something."""

    def check(self, value):
        if not super().check(value).strip():
            raise ValueError(f"must not be empty. Received: {value!r}")
        return value


SETTINGS = {
    "prompt": Prompt(),
    "negative_prompt": Text(),
    "seed": Number(int, 0, MAX_SEED),
    "num_steps": Number(int, 1),
    "guidance_scale": Number(float, 1, 1000),
}


def read_requests(args):
    """The settings of each picture, and the seed that was drawn for them, None where the user gave all.

    Returns:
        list of dicts with all keys of SETTINGS, None where the preset decides; int or None.
    """
    entries = _read_entries(args)
    draw = args.seed is None and not all("seed" in entry for entry in entries)
    drawn = secrets.randbelow(RANDOM_SEEDS) if draw else None
    return _expand(entries, args, drawn if draw else args.seed), drawn


def arguments(records):
    """Arguments of `TextToImage.generate` for these pictures, one value for each."""
    names = {"prompts": "prompt", "negative_prompts": "negative_prompt", "seed": "seed"}
    names |= {"num_steps": "num_steps", "guidance_scale": "guidance_scale"}
    return {argument: [record[name] for record in records] for argument, name in names.items()}


def _read_entries(args):
    """What the arguments and the prompts file say of each prompt: dicts with some of the keys of SETTINGS."""
    _check_syntax(args.negative_prompt, "negative_prompt", "--negative-prompt")
    entries = [_checked(prompt, "a prompt") for prompt in args.prompts]
    if args.prompts_file is not None:
        entries += _read_file(args.prompts_file)
    if not entries:
        raise UsageError("there is no prompt: give at least one, or --prompts-file FILE")
    return entries


def _expand(entries, args, seed):
    defaults = {"negative_prompt": args.negative_prompt, "seed": seed}
    defaults |= {"num_steps": args.num_steps, "guidance_scale": args.guidance_scale}
    requests = []
    for entry in entries:
        entry = {**defaults, **entry}
        entry = {name: entry[name] for name in SETTINGS}
        if entry["seed"] + args.num_images - 1 > MAX_SEED:
            raise UsageError(f"--num-images {args.num_images} from seed {entry['seed']} goes beyond seed {MAX_SEED}")
        requests += [{**entry, "seed": entry["seed"] + index} for index in range(args.num_images)]
    return requests


def _read_file(path):
    """The entries of a prompts file: dicts with some of the keys of SETTINGS."""
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"--prompts-file {path} can't be read: {error.strerror}") from error
    except ValueError as error:  # of JSON or of UTF-8
        raise UsageError(f"--prompts-file {path} is not JSON: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"--prompts-file {path} must hold a list of at least one prompt")
    return [_checked(entry, f"--prompts-file {path}: entry {number}") for number, entry in enumerate(entries, 1)]


def _checked(entry, where):
    entry = {"prompt": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or "prompt" not in entry:
        raise UsageError(f"{where} must be text or an object with a `prompt`. Received: {entry!r}")
    unknown = sorted(entry.keys() - SETTINGS.keys())
    if unknown:
        raise UsageError(f"{where} has unknown keys {unknown}; known are {list(SETTINGS)}")
    for name, value in entry.items():
        try:
            entry[name] = SETTINGS[name].check(value)
        except ValueError as error:
            raise UsageError(f"{where}: `{name}` {error}") from error
    for name in ("prompt", "negative_prompt"):
        _check_syntax(entry.get(name, ""), name, where)
    return entry


def _check_syntax(text, name, where):
    try:
        parse(text, name)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error
