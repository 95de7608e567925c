"""`latentdiff info`: what a preset is, or how an image was made."""

import json
from pathlib import Path

from latentdiff.commands import UsageError
from latentdiff.commands.console import say
from latentdiff.commands.preset import find_preset
from latentdiff.commands.prompts import KEYS


def run(args):
    """Prints the model card of a preset and how it is set, or the settings of a PNG."""
    path = Path(args.preset)
    if path.suffix.lower() == ".png" and not path.is_dir():
        return _tell_image(path)
    folder = find_preset(args.preset)
    settings = _read(folder / "task.json") | _read(folder / "metadata.json")
    card = folder / "README.md"
    if card.is_file():
        say(card.read_text(encoding="utf-8").strip())
    else:
        say(f"# {folder.resolve().name}\n\nThis preset has no model card.")
    say(f"\n## Settings\n\n- folder: {folder}")
    for name, value in settings.items():
        say(f"- {name}: {value}")


def _tell_image(path):
    """Prints the settings of an image: an entry of a prompts file, and a line for each of the others."""
    entry, others = _settings_of(path)
    say(f"# {path.name}\n\n{json.dumps(entry, ensure_ascii=False, indent=2)}")
    if others:
        say("")
    for name, value in others.items():
        say(f"- {name}: {value}")


def _settings_of(path):
    """(what fits a prompts file, the rest) of a PNG; UsageError if there is no such file."""
    from latentdiff.data.image_settings import from_png

    if not path.is_file():
        raise UsageError(f"{path} must be a file that exists")
    settings, others = from_png(path)
    rest = {name: value for name, value in settings.items() if name not in KEYS}
    return {name: value for name, value in settings.items() if name in KEYS}, {**rest, **others}


def _read(path):
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"the preset is incomplete: {path} is missing") from error
    except ValueError as error:
        raise ValueError(f"the preset is damaged: {path} is not JSON ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"the preset is damaged: {path} holds no settings")
    return values
