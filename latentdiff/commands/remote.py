"""`latentdiff generate --server`: from prompts to image files, by a model that is served elsewhere."""

import sys
from pathlib import Path

from latentdiff.commands import UsageError, options_given
from latentdiff.commands.output import Output
from latentdiff.commands.progress import ProgressBar
from latentdiff.commands.prompts import read_request
from latentdiff.commands.quiet_start import quiet_start
from latentdiff.settings.table import IMAGE_SIZES
from latentdiff.settings.wire import to_wire

BATCH_SIZE = 8  # what the batching configuration of an export allows
LOCAL_OPTIONS = ("trajectory", "init_image", "mask", "lora", "textual_inversion", "tile_size")


def run(args):
    """Asks for the images and writes them, see `latentdiff generate --help`."""
    given = options_given(args, LOCAL_OPTIONS)
    if given:
        raise UsageError(f"--server can't be combined with {', '.join(given)}")
    request = read_request(args)
    try:
        to_wire(request)  # before the first image is asked for
    except ValueError as error:
        raise UsageError(f"--server: {error}") from error
    output = Output(args.output, request, args.grid)
    client = _client(args)
    bar = ProgressBar(sys.stderr)
    output.prepare()
    bar.tell_seeds(request.drawn)
    told = {"server": args.server, "preset": Path(args.preset).name}
    try:
        bar.start(len(request))
        for batch in request.batches(BATCH_SIZE):
            for index, image in enumerate(client.draw(batch, BATCH_SIZE)):
                bar.advance()
                bar.tell(output.add(image, {**batch.record(index, [IMAGE_SIZES]), **told}))
    finally:
        bar.tell(output.save_grid())


def _client(args):
    try:
        with quiet_start():
            from latentdiff.runtimes.client import Client

            return Client(args.server, Path(args.preset).name, timeout=args.timeout)
    except ImportError as error:
        raise UsageError(f"--server HOST:PORT needs pip install latentdiff[serving] ({error})") from error
    except ValueError as error:
        raise UsageError(error) from error
