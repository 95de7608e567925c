"""The tiny model as a folder of LiteRT files, made once for all tests that look at it."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import keras
from harness import tiny_text_to_image

from latentdiff.export.litert import export_litert


@functools.cache
def tiny_export():
    """The tiny `TextToImage` and the folder that it was exported to."""
    keras.utils.set_random_seed(0)
    parent = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    pipeline = tiny_text_to_image()
    return pipeline, export_litert(pipeline, parent / "edge")
