"""One training run: its experiment, its folder, how long it may take, and how each stage is fitted."""

import contextlib
import dataclasses
import logging
from pathlib import Path

import filelock
import keras

from latentdiff.models.trainable_model import WarmUp
from latentdiff.recipes.callbacks import AveragedWeights, Progress, TimeLimit
from latentdiff.recipes.devices import shared_batches
from latentdiff.recipes.experiment import Experiment

QUICK_LIMIT = 32  # images of a trial
LOCK = ".lock"
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
    """

    experiment: Experiment
    output: Path
    epochs: int | None = None
    minutes: float | None = None
    quick: bool = False

    @property
    def limit(self):
        """How many images to read; None for all."""
        return QUICK_LIMIT if self.quick else None

    @property
    def train_split(self):
        """The name of the latents to train on."""
        return self.experiment.split or "train"

    @contextlib.contextmanager
    def started(self):
        """Within it the run has its folder, the seed, the dtype policy and the devices; then all is as before.

        Raises:
            ValueError: another process trains in the folder.
        """
        policy = keras.config.dtype_policy()
        self.output.mkdir(parents=True, exist_ok=True)
        with locked(self.output), shared_batches():
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

    def length(self, epochs):
        """How many epochs to plan for, where the experiment says `epochs`, and callbacks that may end before."""
        if self.minutes:
            return self.epochs or ENDLESS, [TimeLimit(self.minutes)]
        return self.epochs or epochs, []


@contextlib.contextmanager
def locked(folder):
    """Within it no other process can lock the folder; the lock of a process that is killed is gone with it.

    Raises:
        ValueError: another process has it.
    """
    lock = filelock.FileLock(folder / LOCK, timeout=0)
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
    """Trains a compiled model; resumes where an interrupted run of the same stage stopped.

    Args:
        model: a `TrainableModel`.
        batches: `Batches`.
        run: `Run`.
        stage: name of the folder in `run.output` that holds the backup and `log.csv`.
        epochs: that of `run.length`.
        callbacks: further ones; they see the averaged weights.
        options: further arguments of `fit`.
    """
    folder = run.output / stage
    folder.mkdir(parents=True, exist_ok=True)
    backup = keras.callbacks.BackupAndRestore(str(folder / "backup"))
    backup.async_safe = True  # it does nothing between steps: JAX need not wait for each
    # This order is the right one: a backup of the raw weights, then their average, then who uses it.
    in_order = [
        batches.epoch_callback(),
        backup,
        AveragedWeights(),
        keras.callbacks.CSVLogger(str(folder / "log.csv"), append=True),
        *callbacks,
        Progress(len(batches), None if run.minutes and not run.epochs else epochs),
    ]
    return model.fit(batches, epochs=epochs, shuffle=False, verbose=0, callbacks=in_order, **options)


def optimizer(learning_rate, steps, ema, beta_1=0.9):
    """AdamW whose learning rate warms up, then decays to zero along half a cosine; with an average of the weights.

    Args:
        learning_rate: its peak.
        steps: of the whole run.
        ema: momentum of the moving average.
        beta_1: momentum of the optimizer.
    """
    warmup = min(500, steps // 10 + 1)
    rate = WarmUp(learning_rate, warmup, decay_steps=max(1, steps - warmup))  # a trial may have one step in all
    return keras.optimizers.AdamW(
        rate, weight_decay=0.01, beta_1=beta_1, beta_2=0.99, global_clipnorm=1.0, use_ema=True, ema_momentum=ema
    )
