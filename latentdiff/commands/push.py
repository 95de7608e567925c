"""`latentdiff push`: a preset onto a hub."""

import sys

from latentdiff.commands import UsageError
from latentdiff.commands.console import say
from latentdiff.commands.preset import find_preset
from latentdiff.commands.progress import ProgressBar
from latentdiff.presets import hub

EPILOG = """\
ADDRESS is hf://OWNER/NAME[@REVISION] or kaggle://OWNER/MODEL/FRAMEWORK/VARIATION. The clients of the hubs find their
tokens themselves: `hf auth login` or HF_TOKEN, and `kagglehub.login()` or KAGGLE_API_TOKEN.

Weights travel as .safetensors. The README.md of the preset is the model card; where there is none, one is made. The
licences of data and weights are yours to state there.

example:
  latentdiff push runs/mine/preset hf://me/mine --data "300 drawings of mine"
  latentdiff generate "a cat" --preset hf://me/mine
"""


def add_parser(commands, preset_help):
    """Adds `push` to the subcommands of `latentdiff`."""
    command = commands.add_parser(
        "push",
        help="upload a preset to a hub",
        description="Uploads a preset to the Hugging Face Hub or to Kaggle, and prints its address.",
        epilog=EPILOG,
    )
    add = command.add_argument
    add("preset", metavar="PRESET", help=preset_help.partition(" (")[0])
    add("address", metavar="ADDRESS", help="where to, see below")
    add("--private", action="store_true", help="make a new repository private (on Kaggle it always is)")
    add("--data", metavar="TEXT", help="what the model was trained on, for the card that is made")
    command.set_defaults(run=run)


def run(args):
    """Uploads the preset, see `latentdiff push --help`."""
    if not hub.is_address(args.address):
        raise UsageError(f"ADDRESS must begin with {hub.HF} or {hub.KAGGLE}. Received: {args.address}")
    find_preset(args.preset)
    from latentdiff.presets.push import push

    bar = ProgressBar(sys.stderr)
    try:
        bar.show(f"uploading {args.preset} ...")
        push(args.preset, args.address, args.private, args.data)
    finally:
        bar.close()
    say(args.address)
