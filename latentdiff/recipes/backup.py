"""Backups of a training run: written whole, the last two kept, the newest whole one restored."""

import csv
import hashlib
import io
import json
import logging
import time

import keras

from latentdiff.presets.weights import check_room
from latentdiff.whole_files import draft_of, remove_litter, remove_whole, write_text

KEPT = 2
WEIGHTS_FILE, STATE_FILE = "model.weights.h5", "state.json"
log = logging.getLogger(__name__)


class Backup(keras.callbacks.Callback):
    """Backs weights, optimizer and seeds up after each epoch; `fit` goes on from there when it is called again.

    Each backup is a folder of its own, `epoch_00012`, which appears at once: a process that is killed while it writes
    one leaves the one before. A backup that is damaged is removed and passed over, with a warning that names it. They
    stay when training ends: who has written its outcome removes the folder.

    Args:
        folder: Path of the folder of the backups, for nothing else and for one process at a time.
        settings: dict that JSON can hold: what the run was asked for. Named where the sizes of the model are others.
        batches: optional `EpochDataset` that `fit` trains on. It is resumed within an epoch where a backup was written
            there, see `BackupWithinEpoch`.

    Raises:
        ValueError: at the start of `fit`, for a backup of a model of other sizes; says in one line which.
    """

    async_safe = True  # it does nothing between steps: JAX need not wait for each

    def __init__(self, folder, settings=None, batches=None):
        super().__init__()
        self.folder = folder
        self.settings = settings or {}
        self.batches = batches

    def on_train_begin(self, logs=None):
        for path in sorted(self.folder.glob("epoch_*"), reverse=True):
            state = _read(path)
            if state is not None:
                self._restore(path, state)
                return
            remove_whole(path)  # or it would count as one of those that are kept
        if (self.folder / "training_metadata.json").exists():  # of Keras' own callback
            log.warning("%s is of an earlier version and can't be resumed: training starts over", self.folder)

    def _restore(self, path, state):
        shapes = self._shapes()
        if [shape for _, shape in state["shapes"]] != [shape for _, shape in shapes]:  # Keras may number the names anew
            told = differences(state["settings"], self.settings) or _other_shapes(state["shapes"], shapes)
            raise ValueError(
                f"`experiment` must have the sizes of the run that is resumed: {told}. Take another --output, or "
                f"remove {self.folder} to start over. Received: {_count(shapes)} weights, where {path} has "
                f"{_count(state['shapes'])}"
            )
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        self.model.load_weights(path / WEIGHTS_FILE)
        self.model._initial_epoch = state["epoch"]
        if self.batches is not None and 0 < state.get("step", 0) < self.batches.num_steps:
            log.info("resuming within epoch %d, after step %d", state["epoch"] + 1, state["step"])
            self.batches.resume_at(state["step"])

    def on_epoch_end(self, epoch, logs=None):
        self._write(f"epoch_{epoch + 1:05}", {"epoch": epoch + 1})

    def _write(self, name, place):
        """Writes a backup of the state after `place`: whole epochs, and steps of the one that goes on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_litter(self.folder, age=0.0)
        for old in sorted(self.folder.glob("epoch_*"))[: 1 - KEPT]:
            remove_whole(old)
        with draft_of(self.folder / name, replace=True) as draft:
            check_room(self.model, draft)
            self.model.save_weights(draft / WEIGHTS_FILE)
            checksum = _checksum(draft / WEIGHTS_FILE)
            state = {**place, "sha256": checksum, "shapes": self._shapes(), "settings": self.settings}
            write_text(draft / STATE_FILE, json.dumps(state) + "\n")

    def _shapes(self):
        return [[variable.path, list(variable.shape)] for variable in self.model.variables]


class BackupWithinEpoch(Backup):
    """Backs up within epochs too, in the folder of a `Backup`, which restores what this one writes.

    The losses in the log are then those of the steps since the run was resumed.

    Args:
        folder, settings, batches: as `Backup`.
        minutes: between two backups.
    """

    async_safe = False  # the weights must be those of the step

    def __init__(self, folder, settings, batches, minutes):
        super().__init__(folder, settings, batches)
        self.minutes = minutes
        self.epoch = self.last = None

    def on_train_begin(self, logs=None):
        self.last = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        step = self.batches.start + batch + 1
        if time.monotonic() - self.last >= 60 * self.minutes and step < self.batches.num_steps:
            self._write(f"epoch_{self.epoch:05}_step_{step:08}", {"epoch": self.epoch, "step": step})
            self.last = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        self.last = time.monotonic()


class Log(keras.callbacks.Callback):
    """Writes the losses of each epoch into a CSV file. Put it before `Backup`: a resumed run then repeats no epoch.

    Args:
        path: Path of the file. Epochs in it that the resumed run does again are replaced.
    """

    async_safe = True

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.rows = None

    def on_train_begin(self, logs=None):
        self.rows = None

    def on_epoch_begin(self, epoch, logs=None):
        if self.rows is None:
            self.rows = [row for row in self._read() if int(row["epoch"]) < epoch]

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({"epoch": epoch, **dict(sorted((logs or {}).items()))})
        names = dict.fromkeys(name for row in self.rows for name in row)
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, text.getvalue())

    def _read(self):
        """The rows of whole lines."""
        if not self.path.is_file():
            return []
        rows = csv.DictReader(self.path.read_text(encoding="utf-8").splitlines())
        return [row for row in rows if None not in row and (row.get("epoch") or "").isdecimal()]


def differences(there, here):
    """Which entries of two nested dicts differ, in words."""
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    told = []
    for name in names:
        left, right = there.get(name), here.get(name)
        if isinstance(left, dict) and isinstance(right, dict):
            told.append(differences(left, right))
        else:
            told.append(f"{name} is {left} there and {right} here")
    return ", ".join(told)


def _other_shapes(there, here):
    pairs = [(left, right) for left, right in zip(there, here, strict=False) if left[1] != right[1]]
    if not pairs:
        return f"it has {len(there)} arrays there and {len(here)} here"
    return f"{pairs[0][1][0]} has shape {tuple(pairs[0][0][1])} there and {tuple(pairs[0][1][1])} here"


def _count(shapes):
    total = 0
    for _, shape in shapes:
        size = 1
        for length in shape:
            size *= length
        total += size
    return f"{total:,}"


def _read(path):
    """The state of a backup, or None and a warning if it is damaged."""
    try:
        state = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
        damage = None if state["sha256"] == _checksum(path / WEIGHTS_FILE) else f"{WEIGHTS_FILE} was changed"
        if not isinstance(state["epoch"], int) or not {"shapes", "settings"} <= set(state):
            damage = f"{STATE_FILE} lacks something"
    except (OSError, ValueError, KeyError, TypeError) as error:
        damage = f"{type(error).__name__}: {error}"
    if damage:
        log.warning("the backup %s is damaged (%s): passed over", path, damage)
        return None
    return state


def _checksum(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
