"""Where presets lie. Imports neither Keras nor a backend, so that the command line can tell a wrong name at once."""

import os
from pathlib import Path

from latentdiff.presets.replacement import where

CONFIG_FILE = "config.json"


def preset_folder(preset):
    """The folder of a preset.

    Args:
        preset: a folder, or the name of a folder in `saved_models`, which is looked for in the working directory, in
            this package or the checkout that it lies in, and in the folders of the environment variable
            LATENTDIFF_PRESETS.

    Raises:
        ValueError: there is none; says where it was looked for and which names there are.
    """
    if _is_preset(Path(preset)):
        return Path(preset)
    package = Path(__file__).parents[1]
    extra = [Path(folder) for folder in os.environ.get("LATENTDIFF_PRESETS", "").split(os.pathsep) if folder]
    shelves = [Path("saved_models"), package / "saved_models", package.parent / "saved_models", *extra]
    for shelf in shelves:
        if _is_preset(shelf / preset):
            return shelf / preset
    names = sorted({path.parent.name for shelf in shelves for path in shelf.glob(f"*/{CONFIG_FILE}")})
    looked = ", ".join(str(shelf) for shelf in shelves)
    raise ValueError(
        f"`preset` must be a folder with a {CONFIG_FILE} or the name of one in {looked}. Names there: {names}. "
        f"Received: preset={str(preset)!r}"
    )


def _is_preset(folder):
    return (where(folder) / CONFIG_FILE).is_file()
