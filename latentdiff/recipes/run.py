"""One training run: its experiment, its folder, how long it may take, and how each stage is fitted."""

import contextlib
import dataclasses
import json
import logging
import warnings
from pathlib import Path

import filelock
import keras

from latentdiff.models.power_averages import PowerAveragedAdamW
from latentdiff.models.trainable_model import WarmUp
from latentdiff.recipes.backup import Backup, BackupWithinEpoch, Log, differences
from latentdiff.recipes.callbacks import AveragedWeights, Progress, StopAtNaN, TimeLimit
from latentdiff.recipes.devices import shared_batches
from latentdiff.recipes.experiment import Experiment
from latentdiff.recipes.tensorboard import TensorBoard
from latentdiff.whole_files import remove_whole, replaced, write_text

QUICK_LIMIT = 32  # images of a trial
LOCK, PREVIEWS, NEAREST = ".lock", "previews", "nearest.png"
FINISHED, BACKUP = "finished.json", "backup"  # in the folder of a stage
AUTOENCODER = "autoencoder"  # the stage, and how the names of its fields begin
SHARED = {"image_size", "split", "validation_split", "seed", "dtype"}
# What a run may change when it is resumed.
MEMORY = {"gradient_checkpointing", "query_chunk_size", "read_processes", "backup_minutes", "cache_text"}
SHARD_BYTES = 15_500_000  # of a preset, where files above 16 MiB can't go everywhere
ENDLESS = 10**6  # epochs, for a run that a clock ends
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run. All stages share its folder.

    Args:
        experiment: `Experiment`.
        output: Path of the folder that gets all files of the run.
        epochs: replaces the number of epochs of the experiment.
        minutes: ends `fit` after so many. The learning rate then stays at its peak.
        quick: whether to take a few images only.
        tensorboard: whether to write files for TensorBoard, beside the backups of each stage.
    """

    experiment: Experiment
    output: Path
    epochs: int | None = None
    minutes: float | None = None
    quick: bool = False
    tensorboard: bool = False

    @property
    def limit(self):
        """How many images to read; None for all."""
        return QUICK_LIMIT if self.quick else None

    @property
    def train_split(self):
        """The name of the latents to train on."""
        return self.experiment.split or "train"

    @contextlib.contextmanager
    def started(self, part=(0, 1)):
        """Within it the run has its folder, the seed, the dtype policy and the devices; then all is as before.

        Args:
            part: (i, n) where n processes share the work and may use the folder together.

        Raises:
            ValueError: another process trains in the folder.
        """
        policy = keras.config.dtype_policy()
        self.output.mkdir(parents=True, exist_ok=True)
        index, parts = part
        with locked(self.output, LOCK if parts == 1 else f"{LOCK}-{index + 1}-of-{parts}"), shared_batches():
            keras.utils.set_random_seed(self.experiment.seed)
            keras.config.set_dtype_policy(self.experiment.dtype)
            try:
                yield
            finally:
                keras.config.set_dtype_policy(policy)

    def load_autoencoder(self):
        """The autoencoder of stage one; ValueError if there is none."""
        path = self.output / "autoencoder.keras"
        if not path.is_file():
            raise ValueError(
                f"`output` must hold autoencoder.keras: run `latentdiff train autoencoder` first, with the same "
                f"--output. Received: output={str(self.output)!r}"
            )
        return keras.saving.load_model(path, compile=False)

    def take_autoencoder(self, autoencoder):
        """Puts a trained autoencoder where stage one would; ValueError if stage one was begun here."""
        if (self.output / AUTOENCODER).exists():
            raise ValueError(
                f"`init` must be left out where stage one has an autoencoder. Received: output={str(self.output)!r}"
            )
        with replaced(self.output / "autoencoder.keras") as draft:
            autoencoder.save(draft)

    def settings(self, stage):
        """What decides what a stage gives, a dict as JSON gives it back."""
        first = stage == AUTOENCODER
        fields = [pair for pair in dataclasses.asdict(self.experiment).items() if pair[0] not in MEMORY]
        chosen = {name: value for name, value in fields if name in SHARED or name.startswith(AUTOENCODER) == first}
        chosen |= {"epochs": self.epochs or getattr(self.experiment, f"{AUTOENCODER}_epochs" if first else "epochs")}
        chosen |= {"minutes": self.minutes, "quick": self.quick}
        return json.loads(json.dumps(chosen, default=lambda value: getattr(value, "__qualname__", str(type(value)))))

    def is_finished(self, stage, outcome):
        """Whether `finish` was called for this stage, and its outcome is there; logs so.

        Raises:
            ValueError: it is finished, with other settings.
        """
        mark = self.output / stage / FINISHED
        if not mark.is_file() or not outcome.exists():
            return False
        there = {**_defaults(), **json.loads(mark.read_text(encoding="utf-8"))}
        way = f"to train anew, take another --output, or remove {mark.parent}"
        here = self.settings(stage)
        if told := differences({name: value for name, value in there.items() if name in here}, here):
            raise ValueError(f"`output` holds a finished run of other settings: {told}; {way}. Received: {outcome}")
        log.info("finished already: %s; %s", outcome, way)
        return True

    def finish(self, stage):
        """Marks a stage as finished, and removes its backups. To be called when its outcome is written."""
        write_text(self.output / stage / FINISHED, json.dumps(self.settings(stage), indent=1) + "\n")
        if (self.output / stage / BACKUP).exists():
            remove_whole(self.output / stage / BACKUP)

    def length(self, epochs):
        """How many epochs to plan for, where the experiment says `epochs`, and callbacks that may end before."""
        if self.minutes:
            return self.epochs or ENDLESS, [TimeLimit(self.minutes)]
        return self.epochs or epochs, []


def _defaults():
    """The defaults of fields: an experiment of an earlier version, which had not all of them, was run with these."""
    return {field.name: field.default for field in dataclasses.fields(Experiment)}


@contextlib.contextmanager
def locked(folder, name=LOCK):
    """Within it no other process can lock the folder; the lock of a process that is killed is gone with it.

    Raises:
        ValueError: another process has it.
    """
    lock = filelock.FileLock(folder / name, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise ValueError(
            f"`output` must be the folder of one process: another one trains there. Received: output={str(folder)!r}"
        ) from error
    try:
        yield
    finally:
        lock.release()


def fit(model, batches, run, stage, epochs, callbacks=(), **options):
    """Trains a compiled model; resumes where an interrupted run of the same stage stopped, even if it was killed.

    When the outcome is written, call `run.finish(stage)`: until then the backups stay.

    Args:
        model: a `TrainableModel`.
        batches: `EpochDataset`, such as `Batches`.
        run: `Run`.
        stage: name of the folder in `run.output` that holds the backup and `log.csv`.
        epochs: that of `run.length`.
        callbacks: further ones; they see the averaged weights.
        options: further arguments of `fit`.

    Raises:
        ValueError: a batch can't be made, such as one of images that can't be decoded; the loss is not finite.
    """
    folder = run.output / stage
    folder.mkdir(parents=True, exist_ok=True)
    minutes = run.experiment.backup_minutes
    within_epoch = [BackupWithinEpoch(folder / BACKUP, run.settings(stage), batches, minutes)] if minutes else []
    # This order is the right one: a backup of the raw weights, then their average, then who uses it.
    in_order = [
        batches.epoch_callback(),
        StopAtNaN(batches, model.steps_per_execution),
        Log(folder / "log.csv"),
        Backup(folder / BACKUP, run.settings(stage), batches),
        *within_epoch,
        AveragedWeights(),
        *callbacks,
        Progress(batches, None if run.minutes and not run.epochs else epochs),
        *([TensorBoard(folder / "tensorboard", batches, run.output / PREVIEWS)] if run.tensorboard else []),
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Your input ran out of data")  # of an epoch that is resumed within
        try:
            return model.fit(batches, epochs=epochs, shuffle=False, verbose=0, callbacks=in_order, **options)
        except Exception:
            if batches.error:
                raise ValueError(batches.error) from None
            raise
        finally:
            batches.close()


def optimizer(learning_rate, steps, ema, beta_1=0.9, schedule="cosine", accumulated=1, average_lengths=()):
    """AdamW whose learning rate warms up, then follows a schedule; with an average of the weights.

    Args:
        learning_rate: its peak.
        steps: batches of the whole run.
        ema: momentum of the moving average, of the weights after each update.
        beta_1: momentum of the optimizer.
        schedule: see `Experiment`.
        accumulated: batches whose gradients make one update.
        average_lengths: those of `PowerAveragedAdamW`.
    """
    warmup = min(500 * accumulated, steps // 10 + 1)
    falls = {"decay_steps": max(1, steps - warmup)} if schedule == "cosine" else {}  # a trial may have one step in all
    rate = WarmUp(learning_rate, warmup, inverse_sqrt=schedule == "inverse_sqrt", **falls)
    # Keras averages after each batch, also where the weights wait for the next update.
    options = {"use_ema": True, "ema_momentum": ema ** (1 / accumulated), "global_clipnorm": 1.0, "weight_decay": 0.01}
    options |= {"gradient_accumulation_steps": accumulated} if accumulated > 1 else {}
    if average_lengths:
        return PowerAveragedAdamW(rate, beta_1=beta_1, beta_2=0.99, average_lengths=average_lengths, **options)
    return keras.optimizers.AdamW(rate, beta_1=beta_1, beta_2=0.99, **options)
