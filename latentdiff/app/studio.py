"""What the buttons of the page do. Knows no browser and not the page's library: fields in, pictures and texts out."""

import math
import secrets
import threading
import typing
from pathlib import Path

from latentdiff.app import inputs
from latentdiff.app.watching import Stopped, watched
from latentdiff.app.written import as_command, as_python
from latentdiff.data.image_settings import from_png, to_png
from latentdiff.data.images import image_grid
from latentdiff.data.labelled_grid import labelled_grid
from latentdiff.settings.table import DRAWN_SEEDS

BATCH_SIZE = 4  # images made at a time: what a machine must hold does not grow with what is asked for


class Made(typing.NamedTuple):
    """An image as it is kept: PNG bytes with its settings in them, a caption, and how to make it again."""

    png: bytes
    caption: str
    command: str
    python: str


class Shown(typing.NamedTuple):
    """What the page shows at a moment: a line of text, an image or None for no change, and all `Made` so far."""

    status: str
    preview: typing.Any
    made: list


class Job(typing.NamedTuple):
    """What is beside the settings in the fields: `images` and `masks`, and a list of (path, scale)."""

    arrays: dict
    adapters: list


class Studio:
    """Draws for the sessions of a page.

    Args:
        model: the `Model`.
        max_images, max_steps: bounds of one request.
    """

    def __init__(self, model, max_images=16, max_steps=150):
        self.model = model
        self.max_images = max_images
        self.max_steps = max_steps
        self._stops = {}

    def generate(self, session, fields, num_images=1, editor=None, files=(), scales=""):
        """Yields `Shown` while images are made.

        Args:
            session: key of the session, for `stop`.
            fields: dict of names of settings to what their fields hold, see `inputs.read_fields`.
            num_images: int.
            editor: see `inputs.read_editor`.
            files, scales: see `inputs.read_adapters`.

        Raises:
            ValueError: a value that is none, or more than the bounds allow.
        """
        job = self._job(editor, files, scales)
        num_images = 1 if num_images is None else num_images
        settings = self._settings(fields, job)
        inputs.check_count(num_images, self.max_images)
        inputs.check_steps(self.model.request(settings), self.max_steps)
        made = []
        for status, preview, done in self._drawn(session, self._batches(settings, num_images), job):
            made += [self._made(*each, job) for each in done]
            yield Shown(status, preview, list(made))

    def matrix(self, session, fields, axes, editor=None, files=(), scales=""):
        """Yields `Shown` while a grid is made of all combinations of the values of one or two settings.

        Args:
            axes: list of (name of a setting, text with one value a line), for the columns and perhaps the rows.
            session, fields, editor, files, scales: as in `generate`. Without a seed all images share a drawn one.
        """
        job = self._job(editor, files, scales)
        axes = [self._axis(name, text) for name, text in axes if name]
        if not axes or len({row.name for row, _ in axes}) < len(axes):
            raise ValueError("A matrix needs one setting, or two that differ.")
        inputs.check_count(math.prod(len(values) for _, values in axes), self.max_images)
        cells = _combinations(axes)
        seed = {"seed": str(secrets.randbelow(DRAWN_SEEDS))} if not fields.get("seed") else {}
        each = [self._settings({**fields, **seed, **cell}, job, parsed=cell) for cell in cells]
        requests = [self.model.request(settings) for settings in each]
        for request in requests:
            inputs.check_steps(request, self.max_steps)
        labels = [
            [f"{row.key.replace('_', ' ')}: {inputs.to_field(row, value)}" for value in values] for row, values in axes
        ]
        images, made = [], []
        for status, preview, done in self._drawn(session, requests, job):
            images += [image for image, _ in done]
            made += [self._made(*each, job) for each in done]
            grid = labelled_grid(images, labels[0], labels[1] if len(labels) > 1 else [""]) if done else None
            yield Shown(status, preview if grid is None else grid, list(made))

    def stop(self, session):
        """Ends what is drawn for a session after the step that is under way."""
        if session in self._stops:
            self._stops[session].set()

    def read_png(self, path):
        """(dict of names of settings to what their fields show, a line on what else is in the PNG)."""
        settings, others = from_png(path)
        rows = {row.key: row for row in self.model.rows}
        shown = {row.name: inputs.to_field(row, settings[key]) for key, row in rows.items() if key in settings}
        rest = {**{key: value for key, value in settings.items() if key not in rows}, **others}
        return shown, ", ".join(f"{name}: {value}" for name, value in rest.items())

    def _job(self, editor, files, scales):
        adapters = inputs.read_adapters(files, scales)
        if adapters and self.model.adapt is None:
            raise ValueError("LoRA files need a preset: this model was exported as it is.")
        size = self.model.image_size
        return Job({} if size is None else inputs.read_editor(editor, size), adapters)

    def _settings(self, fields, job, parsed=()):
        """Settings by name, of fields and of values that are `parsed` already."""
        plain = {name: value for name, value in fields.items() if name not in parsed}
        settings = inputs.read_fields([row for row in self.model.rows if row.name not in parsed], plain)
        settings |= {name: fields[name] for name in parsed}
        inputs.check_settings(self.model.rows, settings, job.arrays)
        return settings

    def _axis(self, name, text):
        row = next(row for row in self.model.rows if row.name == name)
        values = [inputs.read_text(row, line) for line in text.splitlines() if line.strip()]
        if not values:
            raise ValueError(f"`{name}` needs at least one value, one a line.")
        return row, values

    def _batches(self, settings, num_images):
        """Requests of at most `BATCH_SIZE` images, for all images of one prompt."""
        return self.model.request(settings, num_images).batches(BATCH_SIZE)

    def _drawn(self, session, requests, job):
        """Yields (status, preview, list of (image, record)) while the images of some requests are made."""
        stop = self._stops[session] = threading.Event()
        count, total = 0, sum(map(len, requests))
        try:
            for request in requests:
                where = (
                    f"image {count + 1} of {total}"
                    if len(request) == 1
                    else f"images {count + 1} to {count + len(request)} of {total}"
                )
                yield f"{where} ...", None, []
                images = yield from self._watched(request, job, stop, where)
                count += len(request)
                records = [request.record(index, job.arrays) for index in range(len(request))]
                yield f"{count} of {total} done", image_grid(images), list(zip(images, records, strict=True))
                if stop.is_set():
                    raise Stopped
        except Stopped:
            yield f"stopped after {count} of {total}", None, []
        finally:
            if self._stops.get(session) is stop:
                del self._stops[session]

    def _watched(self, request, job, stop, where):
        """Yields what `_drawn` does, for the steps of one request; returns its images."""

        def draw(callback):
            return self.model.draw(request, job.arrays, job.adapters, callback)

        steps = watched(draw, stop)
        try:
            while True:
                step, num_steps, images = next(steps)
                yield f"{where}: step {step} of {num_steps}", None if images is None else image_grid(images), []
        except StopIteration as end:
            return end.value
        finally:
            steps.close()

    def _made(self, image, record, job):
        adapters = [(Path(path).name, scale) for path, scale in job.adapters]
        lora = {"lora": [f"{name}:{scale:g}" for name, scale in adapters]} if adapters else {}
        written = (write(self.model, record, job.arrays, adapters) for write in (as_command, as_python))
        return Made(to_png(image, {**record, "preset": self.model.name, **lora}), _caption(record), *written)


def _combinations(axes):
    """Dicts of names to values: those of the first axis run fastest."""
    cells = [{}]
    for row, values in reversed(axes):
        cells = [{**cell, row.name: value} for cell in cells for value in values]
    return cells


def _caption(record):
    return f"{record['prompt']}, seed {record['seed']}"
