"""Averages of the weights of many lengths: kept while training goes on, mixed into any length afterwards."""

import json
import logging

import keras
import numpy as np
from keras import ops
from safetensors import safe_open
from safetensors.numpy import save_file

from latentdiff.models.power_averages import mixing_coefficients
from latentdiff.pipelines.text_to_image import TextToImage
from latentdiff.recipes.run import SHARD_BYTES
from latentdiff.whole_files import replaced

FOLDER = "averages"
log = logging.getLogger(__name__)


class KeepAverages(keras.callbacks.Callback):
    """Writes the power-function averages of the optimizer after each epoch, `epoch_00001.safetensors`, as float16.

    Args:
        folder: Path of their folder.
    """

    async_safe = True  # it does nothing between steps: JAX need not wait for each

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        optimizer = self.model._averaging_optimizer
        tensors = {
            f"{index}/{variable.path}": ops.convert_to_numpy(average.value).astype("float16")
            for index, averages in enumerate(optimizer.power_averages)
            for variable, average in zip(optimizer._trainable_variables, averages, strict=True)
        }
        about = {"step": str(int(optimizer._iterations)), "lengths": json.dumps(optimizer.average_lengths)}
        self.folder.mkdir(parents=True, exist_ok=True)
        with replaced(self.folder / f"epoch_{epoch + 1:05}.safetensors") as draft:
            save_file(tensors, draft, about)


def mixed_average(folder, length):
    """The weights averaged by a power function of another length, up to the last step that was kept.

    Args:
        folder: Path of the files of `KeepAverages`.
        length: its standard deviation in time, as a share of the training.

    Returns:
        dict of float32 arrays by the paths of the variables.

    Raises:
        ValueError: no files, or a length out of range.

    Reference: see `models.power_averages`; algorithm 3 of the paper.
    """
    paths = sorted(folder.glob("epoch_*.safetensors"))
    if not paths:
        raise ValueError(f"`folder` must hold averages: train with `average_lengths`. Received: folder={str(folder)!r}")
    kept = [(path, *about) for path in paths for about in _averages_of(path)]  # (path, index, step, length)
    steps, lengths = [step for *_, step, _ in kept], [length for *_, length in kept]
    weights = mixing_coefficients(steps, lengths, max(steps), length)
    mixed = {}
    for (path, index, *_), weight in zip(kept, weights, strict=True):
        with safe_open(path, "numpy") as tensors:
            for key in (key for key in tensors.keys() if key.startswith(f"{index}/")):  # noqa: SIM118 (no dict)
                name = key.partition("/")[2]
                mixed[name] = mixed.get(name, 0.0) + np.float32(weight) * tensors.get_tensor(key).astype("float32")
    return mixed


def _averages_of(path):
    """(index, step, length) of each average in a file."""
    with safe_open(path, "numpy") as tensors:
        about = tensors.metadata()
    return [(index, int(about["step"]), length) for index, length in enumerate(json.loads(about["lengths"]))]


def write_average(run, length):
    """Writes the preset of a run once more, with weights averaged by another length.

    Args:
        run: `Run` of a diffusion stage with `average_lengths`.
        length: see `mixed_average`.

    Returns:
        Path of the preset, `preset_average_0.05`.

    Raises:
        ValueError: no preset, or no averages, or those of another network.
    """
    values = mixed_average(run.output / FOLDER, length)
    pipeline = TextToImage.from_preset(run.output / "preset")
    variables = {variable.path: variable for variable in pipeline.model.network.trainable_variables}
    if {name: values[name].shape for name in values} != {name: tuple(each.shape) for name, each in variables.items()}:
        raise ValueError(f"`output` must hold averages of the network of its preset. Received: {run.output}")
    for name, variable in variables.items():
        variable.assign(values[name])
    path = run.output / f"preset_average_{length:g}"
    pipeline.save_to_preset(path, float16=True, max_shard_bytes=SHARD_BYTES)
    log.info("an average of length %g written to %s", length, path)
    return path
