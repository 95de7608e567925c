"""`latentdiff export litert`: a preset as LiteRT files."""

import argparse
from pathlib import Path

from latentdiff.commands import UsageError, lora
from latentdiff.commands.console import say
from latentdiff.commands.preset import find_preset, opened_preset
from latentdiff.commands.prompts import Number
from latentdiff.export.litert.needs import check_needs
from latentdiff.settings.table import SAMPLERS

QUANTIZATIONS = ("none", "float16", "dynamic_int8")  # export.litert_quantization has them too, and is slow to import
OPTIONS = ("num_tokens", "single_file", "web", "node_modules", "samplers")  # handed on as they are
PARTS = ("text_encoder", "denoiser", "decoder", "encoder", "pipeline")

EPILOG = """\
The folder runs by itself, see its README.md:
  pip install ai-edge-litert numpy pillow tokenizers
  python FOLDER/generate.py "a red apple, 3d"

quantization:
  none          32-bit weights: the images of `latentdiff generate`
  float16       half the size, the same speed, nearly the same images
  dynamic_int8  a quarter of the size and much faster, slightly different images
  PART=ONE      for one of text_encoder, denoiser, decoder, encoder, pipeline alone

example:
  latentdiff export litert --output edge --quantization dynamic_int8 decoder=float16
"""


def add_parser(formats, default_preset, preset_help):
    """Adds `litert` to the formats of `latentdiff export`."""
    command = formats.add_parser(
        "litert",
        help="LiteRT files for phones, small computers and browsers",
        description="Writes a preset as LiteRT (TFLite) files, checks them against Keras and prints their folder.",
        epilog=EPILOG,
    )
    add = command.add_argument
    add("--preset", default=default_preset, metavar="NAME_OR_FOLDER", help=preset_help)
    lora.add_option(add)
    add(
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="an earlier export in it is replaced, if nothing else is there",
    )
    add(
        "--quantization",
        type=_quantization,
        nargs="+",
        default=[(None, "none")],
        metavar="ONE",
        help=f"{', '.join(QUANTIZATIONS)}, or PART=ONE, see below (default: none)",
    )
    add("--num-tokens", type=Number(int, 3), metavar="N", help="longest prompt in tokens (default: the preset's)")
    add("--single-file", action="store_true", help="also write pipeline.tflite, the whole way in one file")
    add("--web", action="store_true", help="also write a page for the browser; npm fetches its libraries")
    add("--node-modules", type=Path, metavar="FOLDER", help="take the libraries of the page from here, not from npm")
    add(
        "--samplers",
        nargs="*",
        choices=SAMPLERS,
        metavar="NAME",
        help="the samplers beside the preset's (default: all that ask the network once a step)",
    )
    command.set_defaults(run=run)


def _quantization(text):
    part, _, one = text.rpartition("=")
    if one not in QUANTIZATIONS or part not in ("", *PARTS):
        raise argparse.ArgumentTypeError(f"must be one of {QUANTIZATIONS} or PART=ONE of {PARTS}. Received: {text!r}")
    return part or None, one


def _check_needs(quantized, args):
    try:
        check_needs(quantized, args.web, args.node_modules)
    except ValueError as error:
        raise UsageError(error) from error


def run(args):
    """Writes the folder, see `latentdiff export litert --help`."""
    find_preset(args.preset)
    parts = PARTS if args.single_file else PARTS[:-1]
    given = dict(args.quantization)
    if "pipeline" in given and not args.single_file:
        raise UsageError("--quantization pipeline=... needs --single-file")
    quantization = {part: given.get(part, given.get(None, "none")) for part in parts}
    _check_needs(set(quantization.values()) != {"none"}, args)
    lora.check(args)
    with opened_preset(args.preset) as (pipeline, bar):
        lora.load(pipeline, args)
        bar.show(f"writing {args.output}, which takes a minute ...")
        options = {name: getattr(args, name) for name in OPTIONS}
        pipeline.export_litert(args.output, quantization=quantization, **options)
    say(args.output)
