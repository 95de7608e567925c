"""`latentdiff generate --server`: from prompts to picture files, by a model that is served elsewhere."""

import sys
from pathlib import Path

from latentdiff.commands import UsageError, options_given
from latentdiff.commands.output import Output
from latentdiff.commands.progress import ProgressBar
from latentdiff.commands.prompts import arguments, read_requests
from latentdiff.commands.quiet_start import quiet_start

BATCH_SIZE = 8  # what the batching configuration of an export allows
# Options that a server has no input for: it does what the model was exported with.
LOCAL_OPTIONS = ("sampler", "trajectory", "guidance_rescale", "guidance_interval")
LOCAL_OPTIONS += ("init_image", "strength", "mask", "keep_pixels")


def run(args):
    """Asks for the pictures and writes them, see `latentdiff generate --help`."""
    given = options_given(args, LOCAL_OPTIONS)
    if given:
        raise UsageError(f"--server can't be combined with {', '.join(given)}")
    requests, drawn = read_requests(args)
    _check_prompts(requests)
    output = Output(args.output, requests, args.grid)
    client = _client(args)
    bar = ProgressBar(sys.stderr)
    output.prepare()
    bar.tell_seed(drawn)
    try:
        bar.start(len(requests))
        for start in range(0, len(requests), BATCH_SIZE):
            batch = requests[start : start + BATCH_SIZE]
            pictures = client.generate(**_arguments(batch), batch_size=BATCH_SIZE)
            for picture, request in zip(pictures, batch, strict=True):
                bar.advance()
                bar.tell(output.add(picture, _record(request, args)))
    finally:
        bar.tell(output.save_grid())


def _check_prompts(requests):
    """Refuses all of them before the first is asked for."""
    from latentdiff.runtimes.client import plain_text

    try:
        for request in requests:
            plain_text(request["prompt"])
            plain_text(request["negative_prompt"], "negative_prompts")
    except ValueError as error:
        raise UsageError(f"--server: {error}") from error


def _client(args):
    try:
        with quiet_start():
            from latentdiff.runtimes.client import Client

            return Client(args.server, Path(args.preset).name, timeout=args.timeout)
    except ImportError as error:
        raise UsageError(f"--server HOST:PORT needs pip install latentdiff[serving] ({error})") from error
    except ValueError as error:
        raise UsageError(error) from error


def _arguments(batch):
    from latentdiff.runtimes.client import DEFAULT

    given = arguments(batch)
    for name in ("num_steps", "guidance_scale"):
        given[name] = [DEFAULT if value is None else value for value in given[name]]
    return given


def _record(request, args):
    """The settings of a picture; what the server decided is not among them."""
    known = {name: value for name, value in request.items() if value is not None}
    return {**known, "server": args.server, "preset": Path(args.preset).name}
