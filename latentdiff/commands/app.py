"""`latentdiff app`: a page in the browser."""

import threading
from pathlib import Path

from latentdiff.commands import UsageError
from latentdiff.commands.console import say
from latentdiff.commands.preset import find_preset, opened_preset
from latentdiff.commands.prompts import Number

MAX_PIXELS = 2**25  # of an upload Pillow warns; it refuses twice as many
EPILOG = """\
The page can be reached from this machine alone, unless --host says otherwise: whoever reaches it may use the model, and
there is no password. One request is drawn at a time; others wait in line.

example:
  latentdiff app --preset emoji-128
"""


def add_parser(commands, default_preset, preset_help):
    """Adds `app` to the subcommands of `latentdiff`."""
    command = commands.add_parser(
        "app",
        help="open a page that generates images",
        description="Opens a page for the browser, and prints its address. Ctrl-C ends it.",
        epilog=EPILOG,
    )
    add = command.add_argument
    add("--preset", default=default_preset, metavar="NAME_OR_FOLDER", help=preset_help)
    add("--edge", type=Path, metavar="FOLDER", help="draw with LiteRT files, a folder of `export litert`")
    add("--server", metavar="HOST:PORT", help="let a server draw, as in `generate`; --preset is its model's name")
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="address to bind to (default: 127.0.0.1)")
    add("--port", type=Number(int, 1, 65535), metavar="N", help="port (default: the first free one from 7860 on)")
    add("--max-images", type=Number(int, 1), default=16, metavar="N", help="most images of a request (default: 16)")
    add("--max-steps", type=Number(int, 1), default=150, metavar="N", help="most steps of an image (default: 150)")
    command.set_defaults(run=run)


def run(args):
    """Serves the page until it is interrupted, see `latentdiff app --help`."""
    if args.edge is not None and args.server is not None:
        raise UsageError("--edge can't be combined with --server")
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UsageError('app needs gradio: pip install "latentdiff[app]"') from error
    from PIL import Image

    from latentdiff.app.page import serve
    from latentdiff.app.studio import Studio

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    model = _model(args)
    page = serve(Studio(model, args.max_images, args.max_steps), args.host, args.port)
    try:
        say(page.local_url)
        threading.Event().wait()
    finally:
        page.close(verbose=False)


def _model(args):
    from latentdiff.app import model

    if args.edge is not None:
        return model.of_edge(args.edge)
    if args.server is not None:
        return model.of_server(args.server, Path(args.preset).name)
    find_preset(args.preset)
    with opened_preset(args.preset) as (pipeline, _):
        return model.of_preset(args.preset, pipeline)
