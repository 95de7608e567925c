"""`latentdiff info`: what a preset is."""

import json

from latentdiff.commands.console import say
from latentdiff.commands.preset import find_preset


def run(args):
    """Prints the model card of a preset and how it is set."""
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
