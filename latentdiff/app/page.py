"""The page: Gradio's parts around a `Studio`. The fields of settings are made from their rows of the table."""

from pathlib import Path

import gradio as gr

from latentdiff.app.inputs import to_field
from latentdiff.settings.table import DRAWN, MAX_PROMPT_BYTES, SETTINGS

MAIN = ("prompts", "negative_prompts")
KEPT = 60  # images in the gallery of a session
CACHE_SECONDS = (3600, 86400)  # how often files of images are looked through, and how old they get
ONE_AT_A_TIME = {"concurrency_limit": 1, "concurrency_id": "model", "show_progress": "minimal"}
QUIET = {"api_visibility": "private"}
BUTTONS = ["download", "fullscreen"]  # and none that hands images to other sites
CSS = """
.gradio-container {max-width: 1280px !important; margin: 0 auto}
#gallery .grid-container {grid-template-columns: repeat(auto-fill, minmax(90px, 1fr)) !important}
"""


def make_page(studio):
    """The `gradio.Blocks` of a `Studio`."""
    with gr.Blocks(title="latentdiff", analytics_enabled=False, delete_cache=CACHE_SECONDS) as page:
        gr.Markdown(f"### latentdiff: {Path(studio.model.name).name}")
        with gr.Row():
            with gr.Column(min_width=320):
                fields, buttons, num_images = _main(studio)
            with gr.Column(min_width=320):
                status = gr.Textbox(show_label=False, placeholder="ready", interactive=False, elem_id="status")
                preview = gr.Image(label="image", format="png", height=300, buttons=BUTTONS, elem_id="preview")
        with gr.Row():
            with gr.Column(min_width=320):
                given, axes, png = _more(studio.model, fields)
            with gr.Column(min_width=320):
                gallery = gr.Gallery(label="gallery", height=300, interactive=False, buttons=BUTTONS, elem_id="gallery")
                texts = [_text(label) for label in ("command line", "Python")]
        kept = gr.State([])
        runs = _Runs(studio, list(fields), gallery.GRADIO_CACHE)
        outputs, inputs = [status, preview, gallery, kept, *texts], [kept, *given, *fields.values()]
        generate, stop, draw = buttons["generate"], buttons["stop"], axes.pop()
        started = [generate.click, fields["prompts"].submit]
        jobs = [
            gr.on(started, runs.generate, [num_images, *inputs], outputs, **ONE_AT_A_TIME, **QUIET),
            draw.click(runs.matrix, [*axes, *inputs], outputs, **ONE_AT_A_TIME, **QUIET),
        ]
        stopped = stop.click(runs.stop, cancels=jobs, queue=False, **QUIET)
        stopped.then(lambda: "stopped", None, status, queue=False, **QUIET)
        png.upload(runs.read_png, png, [*fields.values(), status], **QUIET)
        gallery.select(runs.select, kept, texts, queue=False, **QUIET)
        page.unload(runs.stop)
    return page


def _main(studio):
    """The fields of the prompts by name, the buttons by name, and the number of images."""
    fields = {name: _field(SETTINGS[name], studio.model) for name in MAIN}
    num_images = gr.Number(1, label="images", precision=0, minimum=1, maximum=studio.max_images, elem_id="num_images")
    with gr.Row():
        names = {"generate": "primary", "stop": "secondary"}
        buttons = {
            name: gr.Button(name.title(), variant=kind, min_width=100, elem_id=name) for name, kind in names.items()
        }
    return fields, buttons, num_images


def _more(model, fields):
    """What is folded away: what a `Job` is made of, the parts of the matrix, and the PNG; adds to the fields."""
    with gr.Accordion("Settings", open=False):
        fields |= {row.name: _field(row, model) for row in _rows(model, needed=False)}
    given = [_editor(model, fields), *_adapters(model)]
    axes = _matrix(model)
    with gr.Accordion("Settings of a PNG", open=False):
        png = gr.File(label="drop a PNG that was made here", file_types=[".png"], elem_id="png")
    return given, axes, png


def _rows(model, needed):
    return [row for row in model.rows if row.name not in MAIN and (row.needs is not None) == needed]


def _field(row, model):
    """The field of a row; an empty one stands for the default."""
    default = model.defaults.get(row.name, row.default)
    told = {"label": row.key.replace("_", " "), "info": row.help, "elem_id": row.name}
    if row.kind is bool:
        return gr.Checkbox(bool(default), **told)
    if row.choices:
        return gr.Dropdown([(f"default ({_name(default)})", ""), *row.choices], value="", **told)
    shown = "random" if default == DRAWN else to_field(row, default)
    return gr.Textbox(placeholder=shown, max_lines=4, max_length=MAX_PROMPT_BYTES, **told)


def _text(label):
    """A text to be copied."""
    return gr.Textbox(label=label, lines=1, max_lines=8, interactive=False, buttons=["copy"], elem_id=label.split()[0])


def _name(sampler):
    return sampler["name"] if isinstance(sampler, dict) else sampler or "the model's"


def _editor(model, fields):
    """The image editor, with the fields of settings that need an image."""
    with gr.Accordion("Begin with an image", open=False, visible=model.image_size is not None):
        gr.Markdown("Paint what should be new; without paint all of it changes. The centre is cut to the model's size.")
        brush = gr.Brush(colors=["#ff00ff"], color_mode="fixed")
        editor = gr.ImageEditor(
            show_label=False, type="numpy", brush=brush, sources=("upload", "clipboard"), layers=False, elem_id="editor"
        )
        fields |= {row.name: _field(row, model) for row in _rows(model, needed=True)}
    return editor


def _adapters(model):
    with gr.Accordion("LoRA", open=False, visible=model.adapt is not None):
        files = gr.File(label="LoRA files", file_count="multiple", file_types=[".safetensors"], elem_id="lora")
        scales = gr.Textbox(label="scales", placeholder="1.0", info="one number, or one for each file")
    return files, scales


def _matrix(model):
    """Setting and values of the columns and of the rows, and the button."""
    names = [(row.key.replace("_", " "), row.name) for row in model.rows]
    with gr.Accordion("Matrix", open=False):
        gr.Markdown("All combinations of the values of two settings, one value a line.")
        axes = []
        for axis in ("columns", "rows"):
            with gr.Row():
                axes.append(gr.Dropdown([("none", ""), *names], value="", label=axis, elem_id=f"{axis}-setting"))
                axes.append(gr.Textbox(label="values", lines=3, elem_id=f"{axis}-values"))
        return [*axes, gr.Button("Draw the matrix", elem_id="matrix")]


class _Runs:
    """Between Gradio's lists of values and the `Studio`."""

    def __init__(self, studio, names, cache):
        self.studio = studio
        self.names = names
        self.cache = cache

    def generate(self, request: gr.Request, num_images, kept, editor, files, scales, *values):
        fields = dict(zip(self.names, values, strict=True))
        yield from self._shown(kept, self.studio.generate, request, fields, num_images, editor, files or (), scales)

    def matrix(self, request: gr.Request, x, xs, y, ys, kept, editor, files, scales, *values):
        fields = dict(zip(self.names, values, strict=True))
        axes = [(x, xs), (y, ys)]
        yield from self._shown(kept, self.studio.matrix, request, fields, axes, editor, files or (), scales)

    def stop(self, request: gr.Request):
        self.studio.stop(request.session_hash)

    def read_png(self, path):
        try:
            shown, rest = self.studio.read_png(path)
        except (ValueError, OSError) as error:
            raise gr.Error(str(error)) from error
        return [*(shown.get(name) for name in self.names), f"read; besides, {rest}" if rest else "read"]

    def select(self, event: gr.SelectData, kept):
        return kept[event.index][2:]

    def _shown(self, kept, run, request, *arguments):
        """What Gradio shows for each `Shown` of a run: files of new images go into the gallery, newest first."""
        skip, count, gallery = gr.skip(), 0, kept
        try:
            for shown in run(request.session_hash, *arguments):
                preview = skip if shown.preview is None else shown.preview
                if len(shown.made) == count:
                    yield shown.status, preview, skip, skip, skip, skip
                    continue
                count = len(shown.made)
                gallery = [*map(self._kept, reversed(shown.made)), *kept][:KEPT]
                yield shown.status, preview, [entry[:2] for entry in gallery], gallery, *gallery[0][2:]
        except (ValueError, OSError) as error:
            raise gr.Error(str(error), print_exception=False) from error

    def _kept(self, made):
        """(path of a PNG in Gradio's cache, caption, command, Python)."""
        path = gr.processing_utils.save_bytes_to_cache(made.png, "image.png", self.cache)
        return path, made.caption, made.command, made.python


def serve(studio, host="127.0.0.1", port=None):
    """Opens the page to browsers, and returns it: a `gradio.Blocks` with `local_url` and `close()`.

    Args:
        studio: the `Studio`.
        host: address to bind to.
        port: its port; default: the first free one from 7860 on.
    """
    page = make_page(studio)
    page.queue(max_size=16, default_concurrency_limit=4)
    options = {"share": False, "quiet": True, "ssr_mode": False, "footer_links": [], "prevent_thread_lock": True}
    options |= {"max_file_size": "100mb", "state_session_capacity": 100, "enable_monitoring": False, "css": CSS}
    page.launch(server_name=host, server_port=port, **options)
    return page
