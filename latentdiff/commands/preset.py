"""The preset that a command works with."""

import contextlib
import sys

from latentdiff.commands import UsageError
from latentdiff.commands.progress import ProgressBar
from latentdiff.commands.quiet_start import quiet_start
from latentdiff.presets.folder import preset_folder


def find_preset(preset):
    """The folder of a preset, see `preset_folder`; raises UsageError if there is none."""
    try:
        return preset_folder(preset)
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
