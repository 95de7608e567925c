"""What the app draws with: a preset, a folder of LiteRT files or a served model, all by one `generate`."""

import dataclasses
import json
import threading
from collections.abc import Callable
from pathlib import Path

from latentdiff.settings.request import Request
from latentdiff.settings.table import IMAGE_SIZES, SETTINGS
from latentdiff.settings.wire import SERVED


@dataclasses.dataclass
class Model:
    """A model of the app.

    Attributes:
        name: what to call it.
        rows: of the table of settings, those that it takes.
        defaults: dict of names to values of what a request leaves out; empty where only a server knows.
        generate: the function of that name, with `callback` if `watched`.
        image_size: (height, width) of images that it begins with, or None if it takes none.
        adapt: function of a list of (path, scale) that puts these adapters, and no others, on the model, or None.
        watched: whether steps can be seen.
        command: list of words, the command line without its settings.
        opening: lines of Python that make `model`.
    """

    name: str
    rows: list
    defaults: dict
    generate: Callable
    image_size: tuple | None
    adapt: Callable | None
    watched: bool
    command: list
    opening: str
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def draw(self, request, arrays, adapters=(), callback=None):
        """uint8 images (n, height, width, 3) of a `Request`; one call at a time.

        Args:
            request: the `Request`, of rows of this model.
            arrays: dict that may have `images` and `masks`.
            adapters: list of (path, scale).
            callback: as in `generate`; not called where steps can't be seen.
        """
        rows = [row for row in self.rows if row.name != "prompts" and row.needs in (None, *arrays)]
        settings = {row.name: list(request[row.name]) if row.each else request[row.name] for row in rows}
        settings = {
            name: value for name, value in settings.items() if value is not None and value != [None] * len(request)
        }
        watching = {"callback": callback} if self.watched else {}
        with self.lock:
            if self.adapt is not None:
                self.adapt(list(adapters))
            return self.generate(list(request["prompts"]), **settings, **arrays, **watching)

    def request(self, settings, num_images=1):
        """The `Request` of settings by name, with the defaults of the model."""
        return Request.build(num_images=num_images, **settings).with_defaults(self.defaults)


def of_preset(preset, pipeline):
    """A `Model` of a `TextToImage` that was opened from `preset`, a name."""
    from latentdiff.pipelines.image_to_image import ImageToImage
    from latentdiff.pipelines.inpaint import Inpaint

    def generate(prompts, *, images=None, masks=None, **settings):
        kind = type(pipeline) if images is None else ImageToImage if masks is None else Inpaint
        return kind.from_pipeline(pipeline).generate(prompts, images=images, masks=masks, **settings)

    loaded = []

    def adapt(adapters):
        if adapters != loaded:
            pipeline.unload_lora()
            loaded.clear()
            for path, scale in adapters:
                pipeline.load_lora(path, scale)
                loaded.append((path, scale))

    defaults = {**pipeline.request_defaults, "strength": None}  # which depends on what is given
    opening = f"from latentdiff import TextToImage\n\nmodel = TextToImage.from_preset({preset!r})"
    words = ["latentdiff", "generate", "--preset", preset]
    rows = [row for row in SETTINGS.values() if row.needs != IMAGE_SIZES]  # which stay those of the whole image here
    return Model(preset, rows, defaults, generate, pipeline.image_size, adapt, True, words, opening)


def of_edge(folder):
    """A `Model` of a folder that `latentdiff export litert` wrote."""
    from latentdiff.runtimes.edge import EdgePipeline

    pipeline = EdgePipeline(folder)
    told = {name: row for name, row in pipeline.settings.items() if name in SETTINGS}
    rows = [dataclasses.replace(SETTINGS[name], choices=tuple(row["choices"])) for name, row in told.items()]
    defaults = {name: row["default"] for name, row in told.items() if not row["needs"]}
    opening = f"from latentdiff.runtimes.edge import EdgePipeline\n\nmodel = EdgePipeline({str(folder)!r})"
    words = ["python", str(Path(folder) / "generate.py")]
    size = tuple(pipeline.manifest["image_size"])
    return Model(Path(folder).name, rows, defaults, pipeline.generate, size, None, True, words, opening)


def of_server(server, name, timeout=120.0):
    """A `Model` at a TF Serving, see `runtimes.client.Client`."""
    from latentdiff.runtimes.client import Client

    opening = f"from latentdiff.runtimes.client import Client\n\nmodel = Client({json.dumps(server)}, {name!r})"
    words = ["latentdiff", "generate", "--server", server, "--preset", name]
    generate = Client(server, name, timeout).generate
    return Model(f"{name} at {server}", list(SERVED), {}, generate, None, None, False, words, opening)
