"""What the training scripts share: arguments, the optimizer and the callbacks that make a run safe to interrupt."""

import argparse
import time
from pathlib import Path

import keras

from latentdiff import TextEncoder
from latentdiff.models.trainable_model import WarmUp
from latentdiff.recipes.callbacks import AveragedWeights
from training.configs import load_config

QUICK_LIMIT = 32
ENDLESS = 10**6  # epochs, for a run that a clock ends


def positive(kind):
    """A `type` of argparse: numbers of this kind above zero."""

    def convert(text):
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"must be above zero. Received: {text}")
        return value

    convert.__name__ = kind.__name__  # argparse names it where the text is no number
    return convert


def parse(description, required=(), **options):
    """Parses the command line of a training script.

    Args:
        description: of the script.
        required: names of the options that must be given.
        options: help texts of further options, which take a string.

    Returns:
        the arguments and the config they name.

    Raises:
        SystemExit: with the usage, if an option is missing or wrong.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", required=True, help="a name in training/configs or a .py file")
    parser.add_argument("--output", required=True, type=Path, help="folder of this run")
    parser.add_argument("--epochs", type=positive(int), help="replaces the number of epochs of the config")
    parser.add_argument("--minutes", type=positive(float), help="ends training after so many, whatever the config says")
    parser.add_argument("--seed", type=int, help="replaces the seed of the config, for a second run of the same")
    parser.add_argument("--quick", action="store_true", help="a short trial, to see that everything works")
    for name, text in options.items():
        parser.add_argument("--" + name.replace("_", "-"), required=name in required, help=text)
    args = parser.parse_args()
    try:
        config = load_config(args.config, args.quick)
    except ValueError as error:
        parser.error(str(error))
    config.seed = config.seed if args.seed is None else args.seed
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.dtype)
    if keras.backend.backend() == "jax" and len(keras.distribution.list_devices()) > 1:
        # Each device takes its share of every batch. On one host here; more hosts call keras.distribution.initialize().
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    args.output.mkdir(parents=True, exist_ok=True)
    return args, config


def num_devices():
    """How many devices share each batch, see `parse`."""
    distribution = keras.distribution.distribution()
    return 1 if distribution is None else distribution.device_mesh.devices.size


def fitting_batch_size(wanted, rows):
    """The largest batch size up to `wanted` that there are rows for and that the devices share evenly.

    Args:
        wanted: batch size of the config.
        rows: number of them in the data.

    Raises:
        ValueError: there is not even one row for each device.
    """
    devices = num_devices()
    if min(wanted, rows) < devices:
        raise ValueError(
            f"A batch must have a row for each of {devices} devices. Received: {rows} rows, a batch size of {wanted}"
        )
    return min(wanted, rows) // devices * devices


def load_text_encoder(preset, config):
    """The text encoder of a KerasHub preset, a folder or a name, with the length, separator and dtype of a config."""
    import keras_hub  # slow, and not every script needs it

    backbone = keras_hub.models.Backbone.from_preset(preset, dtype=config.dtype)
    tokenizer = keras_hub.models.Tokenizer.from_preset(preset)
    separator_id = None if config.separator is None else int(tokenizer.token_to_id(config.separator))
    return TextEncoder(backbone, tokenizer, config.sequence_length, separator_id=separator_id)


def optimizer(learning_rate, steps, ema, beta_1=0.9):
    """AdamW that warms up, then falls along half a cosine to nothing at the end; with a moving average of weights."""
    warmup = min(500, steps // 10 + 1)
    rate = WarmUp(learning_rate, warmup, decay_steps=max(1, steps - warmup))  # a trial may have one step in all
    return keras.optimizers.AdamW(
        rate, weight_decay=0.01, beta_1=beta_1, beta_2=0.99, global_clipnorm=1.0, use_ema=True, ema_momentum=ema
    )


def length(args, epochs):
    """How long to train.

    Args:
        args: of `parse`. With --minutes a clock ends training, and the learning rate stays where it is until then.
        epochs: of the config; --epochs replaces them.

    Returns:
        the number of epochs to plan for, and a list of callbacks that may end training before.
    """
    if args.minutes:
        return args.epochs or ENDLESS, [TimeLimit(args.minutes)]
    return args.epochs or epochs, []


class TimeLimit(keras.callbacks.Callback):
    """Ends training after so many minutes in `fit`, the first step, which compiles, not counted.

    JAX waits for each step then: what it had queued up would make the clock late.
    """

    def __init__(self, minutes):
        super().__init__()
        self.minutes = minutes
        self.end = None

    def on_train_batch_end(self, batch, logs=None):
        self.end = self.end or time.monotonic() + 60 * self.minutes
        if time.monotonic() >= self.end:
            self.model.stop_training = True


def callbacks(output, batches, *more):
    """Callbacks in the one order that is right: a backup of the raw weights, then their average, then who uses it."""
    output.mkdir(parents=True, exist_ok=True)
    backup = keras.callbacks.BackupAndRestore(str(output / "backup"))
    backup.async_safe = True  # it does nothing between steps: JAX need not wait for each
    return [
        batches.epoch_callback(),
        backup,
        AveragedWeights(),
        keras.callbacks.CSVLogger(str(output / "log.csv"), append=True),
        *more,
    ]
