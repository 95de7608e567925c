"""Where presets lie. Imports neither Keras nor a backend, so that the command line can tell a wrong name at once."""

import os
from pathlib import Path

from latentdiff.presets import hub
from latentdiff.presets.replacement import where

CONFIG_FILE = "config.json"
ON_HUB = ("*.json", "*.md", "assets/tokenizer/*", "model.weights.*", "model.safetensors")  # of a repository


def preset_folder(preset):
    """The folder of a preset.

    Args:
        preset: a folder, or the name of a folder in `saved_models`, which is looked for in the working directory, in
            this package or the checkout that it lies in, and in the folders of the environment variable
            LATENTDIFF_PRESETS; or an address on a hub, see `hub`, whose files are downloaded.

    Raises:
        ValueError: there is none; says where it was looked for and which names there are.
        OSError: the hub can't be reached.
    """
    if hub.is_address(preset):
        return Path(hub.download(str(preset), ON_HUB))
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


def check_files(folder, patterns):
    """Raises ValueError unless the files in a folder that match the patterns are regular ones, within the folder.

    The cache of the Hugging Face Hub has links in `snapshots/COMMIT` to files in `blobs` of the same repository. These
    are taken, and no others out of the folder: not to folders within `blobs`, nor to where a link `blobs` may lead.
    """
    inside = folder.resolve()
    blobs = inside.parent.parent / "blobs" if inside.parent.name == "snapshots" else None
    for path in (path for pattern in patterns for path in folder.glob(pattern)):
        target = path.resolve()
        if not target.is_file() or not (target.is_relative_to(inside) or target.parent == blobs):
            raise ValueError(
                f"The preset is refused: {path.name!r} must be a file in its folder, and no link out of it."
            )


def shorten(value, length=80):
    """The beginning of an error or a value, in one line, for messages."""
    text = " ".join(str(value)[: 4 * length].split())
    return text if len(text) <= length else f"{text[:length]}..."


def _is_preset(folder):
    return (where(folder) / CONFIG_FILE).is_file()
