"""`latentdiff train`: the stages of training, one subcommand each."""

import argparse
import contextlib
import glob
import logging
import os
import sys
from pathlib import Path

from latentdiff.commands import UsageError
from latentdiff.commands.console import say
from latentdiff.commands.preset import find_preset
from latentdiff.commands.prompts import Number
from latentdiff.commands.quiet_start import quiet_start
from latentdiff.settings.table import MAX_SEED

EPILOG = """\
Training has three stages, which share the folder --output:
  1. latentdiff train autoencoder   learns to compress images to latents and back      -> autoencoder.keras
  2. latentdiff train latents       encodes all images once                            -> latents_*.npy
  3. latentdiff train diffusion     learns to generate latents from captions           -> preset/

--data is one of these:
  a folder of images with a caption for each: cat.png and cat.txt, or one metadata.jsonl with lines such as
  {"file_name": "cat.png", "caption": "a cat"}; parquet shards with the columns image and caption; or tfds:NAME.

--experiment holds all other settings: sizes, batch size, learning rate, ... The built-in one, my_pictures, has the
sizes of the shipped preset. To change a setting, copy its file, named below, and pass your copy.

An interrupted run resumes when the same command is typed again. A run takes about 1.3 GB
on the disk while it trains, 180 MB afterwards.

example:
  latentdiff train autoencoder --data mine --init emoji-128 --output runs/mine
  latentdiff train latents     --data mine --output runs/mine
  latentdiff train diffusion   --init emoji-128 --output runs/mine
  latentdiff generate "a caption like yours" --preset runs/mine/preset

my_pictures: {my_pictures}
"""
STAGES = {
    "autoencoder": (
        "stage 1: learn to compress images to latents and back",
        "Trains the autoencoder on images and writes autoencoder.keras. autoencoder.png shows images beside their "
        "reconstructions: look at it before you go on.",
        ("data", "metrics", "init", "epochs", "minutes", "skip_corrupt"),
    ),
    "latents": (
        "stage 2: encode all images once",
        "Encodes all images, and their variations, with the autoencoder of stage 1.",
        ("data", "init", "skip_corrupt"),
    ),
    "diffusion": (
        "stage 3: learn to generate latents from captions",
        "Trains the U-Net on the latents of stage 2 and writes a preset, the folder that `latentdiff generate` opens; "
        "or, with --lora-rank, an adapter for the preset of --init, the file of `latentdiff generate --lora`.",
        ("text_encoder", "init", "epochs", "minutes", "lora"),
    ),
    "distillation": (
        "for a preset: learn to generate in few steps",
        "Trains the U-Net of a preset, on the latents of stage 2, to make in few steps without guidance what it makes "
        "in many. Each phase halves the steps and writes a preset, or, with --lora-rank, an adapter.",
        ("init", "epochs", "minutes", "lora"),
    ),
}
INIT = {
    "autoencoder": "preset whose autoencoder training starts from, such as emoji-128 (default: random weights)",
    "latents": "preset whose autoencoder is used as it is, in place of stage 1",
    "diffusion": "preset whose U-Net and text encoder training starts from, such as emoji-128",
    "distillation": "preset that is distilled, with its autoencoder and guidance",
}


def add_parser(commands):
    """Adds `train` to the subcommands of `latentdiff`."""
    built_in = Path(__file__).parents[1] / "recipes" / "experiments" / "my_pictures.py"
    command = commands.add_parser(
        "train",
        help="train a model on your images",
        description="Trains a model on captioned images, in three stages.",
        epilog=EPILOG.replace("{my_pictures}", str(built_in)),
    )
    stages = command.add_subparsers(title="stages", metavar="STAGE", required=True)
    for name, (text, description, options) in STAGES.items():
        stage = stages.add_parser(name, help=text, description=description)
        add_options(stage, *options, init=INIT.get(name))
        stage.set_defaults(run=lambda args, name=name: run_stage(args, RUN[name]))


def add_options(parser, *names, init=None):
    """Adds the options of every stage, and those of `names`."""
    add = parser.add_argument
    if "data" in names:
        add("--data", required=True, metavar="SOURCE", help="captioned images: a folder, parquet shards or tfds:NAME")
    add("--output", type=Path, required=True, metavar="FOLDER", help="folder of this run, the same for all stages")
    add("--experiment", default="my_pictures", metavar="NAME_OR_FILE", help="settings (default: my_pictures)")
    if "init" in names:
        add("--init", metavar="PRESET", help=init)
    if "text_encoder" in names:
        add("--text-encoder", metavar="PRESET", help="KerasHub text preset, a folder or a name, in place of --init's")
    if "metrics" in names:
        add("--metrics", type=Path, metavar="FOLDER", help="folder with lpips_alexnet_f16.npz, for the perceptual loss")
    if "epochs" in names:
        add("--epochs", type=Number(int, 1), metavar="N", help="number of epochs (default: the experiment's)")
    if "minutes" in names:
        add("--minutes", type=above_zero, metavar="X", help="end training after so many minutes")
    if "lora" in names:
        add("--lora-rank", type=Number(int, 1), metavar="N", help="train an adapter of this rank (LoRA)")
        add("--lora-alpha", type=above_zero, metavar="X", help="alpha / rank scales what it adds (default: the rank)")
        add("--lora-targets", metavar="LIST", help="attention, linear, convolution, joined by commas")
    seed = Number(int, 0, MAX_SEED)
    add("--seed", type=seed, metavar="S", help="seed of everything random (default: the experiment's)")
    add("--quick", action="store_true", help="a trial of minutes, to see that everything works")
    if "skip_corrupt" in names:
        add("--skip-corrupt", action="store_true", help="leave out images that can't be decoded, and name them")


def above_zero(text):
    """A `type` of argparse: a finite number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0. Received: {text!r}")
    return value


def run_stage(args, stage):
    """Checks what was typed, opens the run, and calls `stage(args, run)`."""
    _check(args)
    with _logging(), quiet_start():
        import keras

        from latentdiff.recipes.experiments import load_experiment
        from latentdiff.recipes.run import Run

        keras.ops.zeros(1)  # now the backend looks for devices, and says what it finds
    with _logging():
        try:
            experiment = _with_lora(load_experiment(args.experiment, args.quick), args)
        except ValueError as error:
            raise UsageError(error) from error
        if args.seed is not None:
            experiment = experiment.replace(seed=args.seed)
        run = Run(experiment, args.output, _get(args, "epochs"), _get(args, "minutes"), args.quick)
        try:
            stage(args, run)
        except KeyboardInterrupt as stop:
            resumes = "the same command resumes after the last finished epoch"
            raise type(stop)(f"{str(stop) or 'interrupted'}; {resumes}") from None


def _autoencoder(args, run):
    from latentdiff.recipes.autoencoder import train_autoencoder

    train_autoencoder(run, args.data, args.metrics, args.init, args.skip_corrupt)
    say(f"next: latentdiff train latents{_typed(args)} --data {args.data}")


def _latents(args, run):
    from latentdiff.recipes.latents import encode_latents

    encode_latents(run, args.data, args.skip_corrupt, args.init)
    say(f"next: latentdiff train diffusion{_typed(args)} --init PRESET")


def _diffusion(args, run):
    if run.experiment.lora:
        from latentdiff.recipes.lora import FILE, train_lora

        train_lora(run, args.init)
        say(f'next: latentdiff generate "a caption like yours" --preset {args.init} --lora {args.output / FILE}')
        return
    from latentdiff.recipes.diffusion import train_diffusion

    train_diffusion(run, args.text_encoder, args.init)
    say(f'next: latentdiff generate "a caption like yours" --preset {args.output / "preset"}')


def _distillation(args, run):
    from latentdiff.recipes.distillation import distil

    num_steps = distil(run, args.init).num_steps
    outcome = args.output / f"steps_{num_steps}"
    model = f"--preset {args.init} --lora {outcome}.safetensors" if run.experiment.lora else f"--preset {outcome}"
    settings = f"--sampler ddim --num-steps {num_steps} --guidance-scale 1" if run.experiment.lora else ""
    say(f'next: latentdiff generate "a caption like yours" {model} {settings}'.rstrip())


RUN = {"autoencoder": _autoencoder, "latents": _latents, "diffusion": _diffusion, "distillation": _distillation}


def _with_lora(experiment, args):
    """The experiment with the adapter that the options ask for."""
    given = {name: _get(args, f"lora_{name}") for name in ("rank", "alpha", "targets")}
    given = {name: value for name, value in given.items() if value is not None}
    if "targets" in given:
        given["targets"] = tuple(given["targets"].split(","))
    experiment = experiment.replace(lora={**experiment.lora, **given})
    if experiment.lora and "lora_rank" in args:
        if "rank" not in experiment.lora:
            raise ValueError("--lora-rank must be given with --lora-alpha and --lora-targets")
        if _get(args, "text_encoder") or not args.init:
            raise ValueError("an adapter (LoRA) needs --init, and no --text-encoder")
    return experiment


def _typed(args):
    """The options that all stages of this run share, as they are typed."""
    seed = "" if args.seed is None else f" --seed {args.seed}"
    return f" --experiment {args.experiment} --output {args.output}{' --quick' * args.quick}{seed}"


def _check(args):
    """Finds out before any work what can't be done."""
    if args.output.exists() and not args.output.is_dir():
        raise UsageError(f"--output must be a folder. Received: {args.output}, which is a file")
    data, init = _get(args, "data"), _get(args, "init")
    if data:
        check_source(data)
    if init:
        find_preset(init)
    metrics = _get(args, "metrics")
    if metrics and not (metrics / "lpips_alexnet_f16.npz").is_file():
        raise UsageError(f"--metrics must be a folder with lpips_alexnet_f16.npz. Received: {metrics}")
    if "init" in args and "data" not in args and "text_encoder" not in args and not init:
        raise UsageError("--init must be given: the preset that is distilled")
    if "text_encoder" in args and not (args.text_encoder or init):
        option = "--init or " if "init" in args else ""
        raise UsageError(f"{option}--text-encoder must be given: the captions need one")


def check_source(source):
    """Raises UsageError unless a `--data` is there."""
    if source.startswith("tfds:") or os.path.exists(source) or glob.glob(source, recursive=True):
        return
    raise UsageError(f"--data must exist. Received: {source}")


def _get(args, name):
    return getattr(args, name, None)


@contextlib.contextmanager
def _logging():
    """What the recipes log goes to stdout, a line each, while this runs."""
    logger, handler = logging.getLogger("latentdiff"), logging.StreamHandler(sys.stdout)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
