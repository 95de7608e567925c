"""`latentdiff explain`: figures that show how diffusion works."""

import importlib.util
from pathlib import Path

from latentdiff.commands import UsageError
from latentdiff.commands.console import say
from latentdiff.commands.output import check_writable
from latentdiff.commands.preset import find_preset, opened_preset
from latentdiff.commands.prompts import Number
from latentdiff.commands.train import check_source
from latentdiff.explain import FIGURES, draw
from latentdiff.settings.table import MAX_SEED

FEATURES = "efficientnet_lite0_f16.npz"
EPILOG = """\
figures:
{figures}

Each is a PNG file (trajectory: a GIF file too) with a JSON file of its numbers. Together they cost as much as about
500 images of 12 steps, mostly for steps and guidance; a smaller --count is cheaper. baselines costs nothing: it is
drawn from a record that ships, the same for every preset.

--data takes what `latentdiff train --data` takes, once or several times: a folder of images, with a caption in a .txt
file beside each or all in a metadata.jsonl; such an image; parquet shards; or tfds:NAME. Columns label and split are
used if they are there. Rows whose split is "train" count as seen by the model, all others as held out. Without --data
the model's own images stand in for real ones.
--metrics is a .keras or .npz file of a network that gives features of images (see evaluation.load_feature_model), or a
folder with {weights}. KID, truth and nearest images need both.

example:
  latentdiff explain --output figures --only forward --only trajectory
"""


def add_parser(commands, default_preset, preset_help):
    """Adds `explain` to the subcommands of `latentdiff`."""
    command = commands.add_parser(
        "explain",
        help="make figures that show how diffusion works",
        description="Makes figures that show how diffusion works, and prints the names of the files written.",
        epilog=EPILOG.format(
            figures="\n".join(f"  {name:<12}{text}" for name, text in FIGURES.items()), weights=FEATURES
        ),
    )
    add = command.add_argument
    add("--output", type=Path, required=True, metavar="FOLDER", help="files of earlier figures are replaced")
    add("--only", action="append", choices=list(FIGURES), metavar="FIGURE", help="may be given several times")
    add("--preset", default=default_preset, metavar="NAME_OR_FOLDER", help=preset_help)
    add("--data", nargs="+", metavar="SOURCE", help="real images with captions, see below")
    add("--skip-corrupt", action="store_true", help="leave out images of --data that can't be decoded")
    add("--metrics", type=Path, metavar="FILE_OR_FOLDER", help="a network that gives features, see below")
    add("--prompts", nargs="+", metavar="PROMPT", help="default: subjects of the shipped preset")
    add("--seed", type=Number(int, 0, MAX_SEED), default=7, metavar="S", help="seed of all noise (default: 7)")
    add("--count", type=Number(int, 4), default=16, metavar="N", help="images per point of a curve (default: 16)")
    add("--cache", type=Path, metavar="FOLDER", help="keeps the features of real images between runs")
    command.set_defaults(run=run)


def run(args):
    """Makes and writes the figures, see `latentdiff explain --help`."""
    weights = _check(args)
    with opened_preset(args.preset) as (pipeline, bar):
        lesson = _lesson(pipeline, args, weights)
        for name in args.only or FIGURES:
            bar.show(f"drawing {name} ...")
            files = draw(lesson, name)
            bar.clear()
            say("\n".join(map(str, files)))


def _lesson(pipeline, args, weights):
    from latentdiff.evaluation import FeatureCache
    from latentdiff.explain.lesson import PROMPTS, Lesson
    from latentdiff.explain.real_images import load_real_images

    real = load_real_images(args.data, pipeline.image_size, args.skip_corrupt) if args.data else None
    features = FeatureCache(weights, args.cache) if weights else None
    return Lesson(pipeline, args.output, real, features, args.prompts or PROMPTS, args.seed, args.count)


def _check(args):
    """Finds out before any work what can't be done; returns the weights of the features, or None."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError('explain needs matplotlib: pip install "latentdiff[docs]"')
    check_writable(args.output / "forward.png")
    find_preset(args.preset)
    for source in args.data or []:
        check_source(source)
    weights = args.metrics / FEATURES if args.metrics and args.metrics.is_dir() else args.metrics
    if weights and not weights.is_file():
        raise UsageError(f"--metrics {weights} is not there")
    return weights
