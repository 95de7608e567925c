"""`latentdiff export`: a preset as files for other runtimes."""

from pathlib import Path

from latentdiff.commands import UsageError, export_diffusers, export_litert, lora, words
from latentdiff.commands.console import say
from latentdiff.commands.preset import add_tile_size, find_preset, in_tiles, opened_preset
from latentdiff.commands.prompts import Number

SAVED_MODEL_EPILOG = """\
TF Serving serves the largest VERSION that it finds in BASE, and takes up a new one while it runs.

example:
  latentdiff export saved-model --output models/emoji-128/1
"""


def add_parser(commands, default_preset, preset_help):
    """Adds `export` and its formats to the subcommands of `latentdiff`."""
    command = commands.add_parser("export", help="write a preset as files for other runtimes")
    formats = command.add_subparsers(title="formats", metavar="FORMAT", required=True)
    _add_saved_model(formats, default_preset, preset_help)
    export_litert.add_parser(formats, default_preset, preset_help)
    export_diffusers.add_parser(formats, preset_help)


def _add_saved_model(formats, default_preset, preset_help):
    command = formats.add_parser(
        "saved-model",
        help="a SavedModel for TF Serving",
        description="Writes a preset as a SavedModel, checks it against Keras and prints its folder.",
        epilog=SAVED_MODEL_EPILOG,
    )
    add = command.add_argument
    add("--preset", default=default_preset, metavar="NAME_OR_FOLDER", help=preset_help)
    lora.add_option(add)
    words.add_option(add)
    add("--output", type=Path, required=True, metavar="BASE/VERSION", help="a folder that is not there yet")
    add(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        default="float32",
        help="how weights are stored (default: float32)",
    )
    add_tile_size(add)
    add("--token-ids", action="store_true", help="take token ids, not prompts: needs no TF Text operators")
    add("--max-steps", type=Number(int, 1), default=100, metavar="N", help="most steps of a request (default: 100)")
    command.set_defaults(run=run_saved_model)


def run_saved_model(args):
    """Writes the SavedModel, see `latentdiff export saved-model --help`."""
    if not args.output.name.isdecimal():
        raise UsageError(f"--output must be BASE/VERSION with a whole number as VERSION. Received: {args.output}")
    if args.output.exists():
        raise UsageError(f"--output {args.output} is there already, and a served version never changes")
    find_preset(args.preset)
    lora.check(args)
    words.check(args)
    with opened_preset(args.preset) as (pipeline, bar):
        lora.load(pipeline, args)
        words.load(pipeline, args)
        bar.show(f"writing {args.output} ...")
        pipeline = in_tiles(pipeline, args.tile_size)
        pipeline.export(args.output, dtype=args.dtype, token_ids=args.token_ids, max_steps=args.max_steps)
    say(args.output)
