"""The preset that a command works with."""

import contextlib
import sys

from latentdiff.commands import UsageError
from latentdiff.commands.progress import ProgressBar
from latentdiff.commands.prompts import Number
from latentdiff.commands.quiet_start import quiet_start
from latentdiff.presets.folder import preset_folder


def find_preset(preset):
    """The folder of a preset, see `preset_folder`; raises UsageError if there is none."""
    try:
        return preset_folder(preset)
    except ValueError as error:
        raise UsageError(error) from error


def add_tile_size(add):
    """Adds `--tile-size` to a parser by its `add_argument`."""
    told = "encode and decode images in tiles of N x N pixels: less memory for large images, nearly the same pixels"
    add("--tile-size", type=Number(int, 1), metavar="N", help=told)


def in_tiles(pipeline, tile_size):
    """The pipeline with tiles of this size, or as it is for None; raises UsageError for a size that is not possible."""
    if tile_size is None:
        return pipeline
    try:
        return type(pipeline).from_pipeline(pipeline, tile_size=tile_size)
    except ValueError as error:
        raise UsageError(error) from error


@contextlib.contextmanager
def opened_preset(preset):
    """Gives the `TextToImage` of a preset, and the progress bar on stderr, which is cleared at the end."""
    bar = ProgressBar(sys.stderr)
    try:
        bar.show(f"opening {preset} ...")
        yield open_preset(preset), bar
    finally:
        bar.close()


def open_preset(preset):
    """The `TextToImage` of a preset; says nothing on the terminal while TensorFlow starts."""
    with quiet_start():
        import keras

        from latentdiff import TextToImage

        keras.ops.zeros(1)  # now the backend looks for devices, and says what it finds
    try:
        return TextToImage.from_preset(preset)
    except Exception as error:  # what Keras raises on damaged files has many types
        raise ValueError(f"the preset {preset} can't be opened: {error}") from error
