"""`latentdiff export diffusers`: a preset of Stable Diffusion's architecture as a folder of diffusers."""

from pathlib import Path

from latentdiff.commands import UsageError
from latentdiff.commands.console import say
from latentdiff.commands.preset import find_preset, opened_preset

EPILOG = """\
The preset must have parts that diffusers has, as those that `latentdiff import` makes. What is left out: the default
number of steps and guidance scale, which diffusers takes at each call.

example:
  latentdiff export diffusers sd15 --output sd15-diffusers
"""


def add_parser(formats, preset_help):
    """Adds `diffusers` to the formats of `latentdiff export`."""
    command = formats.add_parser(
        "diffusers",
        help="a folder for diffusers",
        description="Writes a preset of Stable Diffusion's architecture as a folder that diffusers opens.",
        epilog=EPILOG,
    )
    add = command.add_argument
    add("preset", metavar="PRESET", help=preset_help.partition(" (")[0])
    add("--output", type=Path, required=True, metavar="FOLDER", help="a folder that is not there yet")
    add("--float16", action="store_true", help="store the weights with half the bits")
    command.set_defaults(run=run)


def run(args):
    """Writes the folder, see `latentdiff export diffusers --help`."""
    if args.output.exists():
        raise UsageError(f"--output {args.output} is there already")
    find_preset(args.preset)
    with opened_preset(args.preset) as (pipeline, bar):
        bar.show(f"writing {args.output} ...")
        pipeline.export_diffusers(args.output, float16=args.float16)
    say(args.output)
