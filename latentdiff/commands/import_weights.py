"""`latentdiff import`: Stable Diffusion as a preset."""

import sys
from pathlib import Path

from latentdiff.commands import UsageError
from latentdiff.commands.console import say
from latentdiff.commands.progress import ProgressBar
from latentdiff.commands.prompts import Number
from latentdiff.commands.quiet_start import quiet_start
from latentdiff.presets.hub import HF

EPILOG = """\
SOURCE is a folder that diffusers wrote, of Stable Diffusion 1.x, 2.x or XL, with weights in .safetensors files. Each
tensor in it is used, or the import fails and names it. The licence of the weights applies to the preset, too.

A single file in the layout of CompVis and Stability is imported by --weights-file; SOURCE is then a folder that holds
the configs, the tokenizer and the scheduler of its model, and needs no weights.

example:
  latentdiff import stable-diffusion-v1-5 --output sd15
  latentdiff generate "a red apple on a table" --preset sd15
"""


def add_parser(commands):
    """Adds `import` to the subcommands of `latentdiff`."""
    command = commands.add_parser(
        "import",
        help="bring Stable Diffusion into a preset",
        description="Converts weights of Stable Diffusion into a preset and prints its folder.",
        epilog=EPILOG,
    )
    add = command.add_argument
    add("source", metavar="SOURCE", help="a folder in diffusers' layout, or hf://OWNER/NAME")
    add("--output", type=Path, required=True, metavar="FOLDER", help="the preset; an earlier one in it is replaced")
    single = "a .safetensors file in the original layout, in place of the weights in SOURCE"
    add("--weights-file", type=Path, metavar="FILE", help=single)
    add("--variant", metavar="NAME", help="variant of the files of weights, such as fp16 (default: none)")
    skip = "last layers of the text encoder to leave out (default: 0)"
    add("--clip-skip", type=Number(int, 0), default=0, metavar="N", help=skip)
    chunks = "longest prompt, in chunks of 77 tokens (default: 1)"
    add("--max-chunks", type=Number(int, 1), default=1, metavar="N", help=chunks)
    add("--float16", action="store_true", help="store the weights with half the bits")
    command.set_defaults(run=run)


def run(args):
    """Writes the preset, see `latentdiff import --help`."""
    if not (args.source.startswith(HF) or Path(args.source).is_dir()):
        raise UsageError(f"SOURCE must be a folder, or hf://OWNER/NAME. Received: {args.source}")
    single = args.weights_file
    if single is not None and not (single.is_file() and single.suffix == ".safetensors"):
        raise UsageError(f"--weights-file must be a .safetensors file, no pickled one. Received: {single}")
    if args.output.is_file():
        raise UsageError(f"--output must be a folder. Received: the file {args.output}")
    bar = ProgressBar(sys.stderr)
    try:
        bar.show(f"reading {args.source} ...")
        with quiet_start():
            from latentdiff import TextToImage
            from latentdiff.convert.unread import without_values
        options = {"clip_skip": args.clip_skip, "weights_file": single, "max_chunks": args.max_chunks}
        pipeline, values = without_values(lambda: TextToImage.from_diffusers(args.source, args.variant, **options))
        bar.show(f"writing {args.output} ...")
        with values:
            pipeline.save_to_preset(args.output, float16=args.float16)
    finally:
        bar.close()
    say(args.output)
