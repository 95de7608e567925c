"""`latentdiff train`: the stages of training, one subcommand each."""

import contextlib
import glob
import logging
import os
import sys
from pathlib import Path

from latentdiff.commands import UsageError
from latentdiff.commands.console import say
from latentdiff.commands.preset import find_preset
from latentdiff.commands.quiet_start import no_warnings_of_absl, quiet_start
from latentdiff.commands.train_options import add_options

EPILOG = """\
Training has three stages, which share the folder --output:
  1. latentdiff train autoencoder   learns to compress images to latents and back      -> autoencoder.keras
  2. latentdiff train latents       encodes all images once                            -> latents_*/
  3. latentdiff train diffusion     learns to generate latents from captions           -> preset/

--data is one of these:
  a folder of images with a caption for each: cat.png and cat.txt, or one metadata.jsonl with lines such as
  {"file_name": "cat.png", "caption": "a cat"}; shards (parquet with the columns image and caption, tar with members
  cat.png and cat.txt, array_record with tf.train.Example records of image and caption); or tfds:NAME.

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
        "Encodes all images, and their variations, with the autoencoder of stage 1. When interrupted, it goes on "
        "where it stopped. N jobs with --shard 1/N to N/N share the work.",
        ("data", "init", "buckets", "shard", "skip_corrupt"),
    ),
    "diffusion": (
        "stage 3: learn to generate latents from captions",
        "Trains the U-Net on the latents of stage 2 and writes a preset, the folder that `latentdiff generate` opens; "
        "or, with --lora-rank, an adapter for the preset of --init, the file of `latentdiff generate --lora`; or, with "
        "--word, a new word for it, the file of `latentdiff generate --textual-inversion`.",
        ("text_encoder", "init", "epochs", "minutes", "lora", "adapt", "buckets", "memory"),
    ),
    "distillation": (
        "for a preset: learn to generate in few steps",
        "Trains the U-Net of a preset, on the latents of stage 2, to make in few steps without guidance what it makes "
        "in many. Each phase halves the steps and writes a preset, or, with --lora-rank, an adapter.",
        ("init", "epochs", "minutes", "lora", "memory"),
    ),
    "average": (
        "after stage 3: average the weights over another length",
        "Mixes the averages that stage 3 kept, with `average_lengths` in the experiment, into one of any length, and "
        "writes a preset with it. A preset can be tried at many lengths without training again.",
        ("length",),
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


def run_stage(args, stage):
    """Checks what was typed, opens the run, calls `stage(args, run)`, which gives the next command, and reports."""
    _check(args)
    with _logging(), quiet_start():
        import keras

        from latentdiff.recipes.experiments import load_experiment
        from latentdiff.recipes.report import write_report
        from latentdiff.recipes.run import Run

        keras.ops.zeros(1)  # now the backend looks for devices, and says what it finds
    with _logging():
        try:
            experiment = _adapted(load_experiment(args.experiment, args.quick), args)
            experiment = experiment.replace(**{name: _get(args, name) for name in FIELDS if _get(args, name)})
        except ValueError as error:
            raise UsageError(error) from error
        if args.seed is not None:
            experiment = experiment.replace(seed=args.seed)
        length = {name: _get(args, name) for name in ("epochs", "minutes")}
        run = Run(experiment, args.output, **length, quick=args.quick, tensorboard=bool(_get(args, "tensorboard")))
        try:
            following = stage(args, run)
        except KeyboardInterrupt as stop:
            resumes = "the same command resumes after the last finished epoch"
            raise type(stop)(f"{str(stop) or 'interrupted'}; {resumes}") from None
        say(f"report: {write_report(run, following)}")
        say(f"next: {following}")


def _autoencoder(args, run):
    from latentdiff.recipes.autoencoder import train_autoencoder

    train_autoencoder(run, args.data, args.metrics, args.init, args.skip_corrupt)
    return f"latentdiff train latents{_typed(args)} --data {args.data}"


def _latents(args, run):
    from latentdiff.recipes.latents import encode_latents

    encode_latents(run, args.data, args.skip_corrupt, args.init, args.shard)
    return f"latentdiff train diffusion{_typed(args)} --init PRESET"


def _diffusion(args, run):
    if run.experiment.lora:
        from latentdiff.recipes.lora import FILE, train_lora

        train_lora(run, args.init)
        return f'latentdiff generate "a caption like yours" --preset {args.init} --lora {args.output / FILE}'
    if run.experiment.textual_inversion:
        from latentdiff.recipes.textual_inversion import FILE, train_textual_inversion

        train_textual_inversion(run, args.init)
        typed = f"--preset {args.init} --textual-inversion {args.output / FILE}"
        return f'latentdiff generate "a caption like yours" {typed}'
    from latentdiff.recipes.diffusion import train_diffusion

    train_diffusion(run, args.text_encoder, args.init)
    return f'latentdiff generate "a caption like yours" --preset {args.output / "preset"}'


def _distillation(args, run):
    from latentdiff.recipes.distillation import distil

    num_steps = distil(run, args.init).num_steps
    outcome = args.output / f"steps_{num_steps}"
    model = f"--preset {args.init} --lora {outcome}.safetensors" if run.experiment.lora else f"--preset {outcome}"
    settings = f"--sampler ddim --num-steps {num_steps} --guidance-scale 1" if run.experiment.lora else ""
    return f'latentdiff generate "a caption like yours" {model} {settings}'.rstrip()


def _average(args, run):
    from latentdiff.recipes.averages import write_average

    return f'latentdiff generate "a caption like yours" --preset {write_average(run, args.length)}'


# Of the experiment, which options replace.
FIELDS = ("image_size", "bucket_step", "gradient_checkpointing", "query_chunk_size")
RUN = {"autoencoder": _autoencoder, "latents": _latents, "diffusion": _diffusion, "average": _average}
RUN |= {"distillation": _distillation}


# The options of each way to adapt a preset, by the names of its settings; it needs the first of them.
ADAPTATIONS = {
    "lora": {"rank": "lora_rank", "alpha": "lora_alpha", "targets": "lora_targets"},
    "textual_inversion": {"word": "word", "num_vectors": "word_vectors", "like": "word_like"},
    "prior": {"prompt": "prior_prompt", "num_images": "prior_images", "weight": "prior_weight"},
}


def _adapted(experiment, args):
    """The experiment with the adapter, word and prior that the options ask for."""
    for field, options in ADAPTATIONS.items():
        given = {name: _get(args, option) for name, option in options.items() if _get(args, option) is not None}
        if "targets" in given:
            given["targets"] = tuple(given["targets"].split(","))
        settings = {**getattr(experiment, field), **given}
        first, *others = (f"--{option.replace('_', '-')}" for option in options.values())
        if settings and next(iter(options)) not in settings:
            raise ValueError(f"{first} must be given with {' and '.join(others)}")
        if settings and "lora_rank" in args and (_get(args, "text_encoder") or not args.init):
            raise ValueError(f"{field} ({first}) needs --init, and no --text-encoder")
        experiment = experiment.replace(**{field: settings})
    return experiment


def _typed(args):
    """The options that all stages of this run share, as they are typed."""
    seed = "" if args.seed is None else f" --seed {args.seed}"
    sizes = {"--image-size": args.image_size, "--bucket-step": _get(args, "bucket_step")}
    told = "".join(f" {option} {value}" for option, value in sizes.items() if value)
    return f" --experiment {args.experiment} --output {args.output}{' --quick' * args.quick}{seed}{told}"


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
    """What the recipes log goes to stdout, a line each, while this runs, and nowhere else: libraries that `fit` imports
    set up the root logger."""
    logger, handler = logging.getLogger("latentdiff"), logging.StreamHandler(sys.stdout)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        with no_warnings_of_absl():
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
