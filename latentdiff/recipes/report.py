"""One page about a training run, a file of its own that opens without a server or a network."""

import base64
import csv
import dataclasses
import html
import json

from latentdiff.recipes.experiment import Experiment
from latentdiff.version import __version__
from latentdiff.whole_files import write_text

FILE = "report.html"
WIDTH, HEIGHT, LABELS = 640, 200, 80  # of a curve, and of the numbers beside it
# What a run leaves, and what it shows.
IMAGES = {
    "autoencoder.png": "Images, and beside each what the autoencoder makes of it.",
    "nearest.png": "First in each row: an image that the model made. Beside it the three training images with the "
    "nearest latents. A made image that equals one of them is repeated, not invented.",
    "prior.png": "Images that the model made before training, which were trained on, too.",
}
PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
img, svg {{ max-width: 100%; height: auto; }}
figure {{ margin: 1rem 0; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: 0.1rem 1rem 0.1rem 0; text-align: left; vertical-align: top; overflow-wrap: anywhere; }}
polyline {{ fill: none; stroke: #0a84ff; stroke-width: 2; }}
line {{ stroke: currentColor; opacity: 0.3; }}
text {{ fill: currentColor; font-size: 12px; }}
pre {{ overflow-x: auto; }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def write_report(run, following=""):
    """Writes `report.html` into the folder of a run: settings, curves, previews, and what to type next.

    Args:
        run: `Run`, with one stage behind it or more.
        following: a command line.

    Returns:
        Path of the page.
    """
    stages = sorted(run.output.glob("*/log.csv"), key=lambda path: path.stat().st_mtime)
    parts = [_section("Next", f"<pre>{html.escape(following)}</pre>")] if following else []
    parts += [_section(path.parent.name.replace("_", " ").capitalize(), _curves(path)) for path in stages]
    previews = sorted(run.output.glob("previews/epoch_*.png"))
    parts += [_section("Previews", "".join(_figure(path, _of_epoch(path)) for path in previews))] if previews else []
    shown = [(run.output / name, told) for name, told in IMAGES.items() if (run.output / name).is_file()]
    parts += [_section("Images", "".join(_figure(*pair) for pair in shown))] if shown else []
    parts.append(_section("Settings", _settings(run)))
    title = html.escape(f"Training run {run.output.resolve().name}, latentdiff {__version__}")
    write_text(run.output / FILE, PAGE.format(title=title, body="\n".join(parts)))
    return run.output / FILE


def _section(title, content):
    return f"<h2>{html.escape(title)}</h2>\n{content}"


def _figure(path, told):
    source = base64.b64encode(path.read_bytes()).decode()
    told = html.escape(told)
    return f'<figure><img src="data:image/png;base64,{source}" alt="{told}"><figcaption>{told}</figcaption></figure>'


def _of_epoch(path):
    return f"After epoch {int(path.stem.partition('_')[2])}, always from the same prompts and noise."


def _settings(run):
    """A table of what differs from the defaults of an experiment."""
    values = dataclasses.asdict(run.experiment)
    fields = [field for field in dataclasses.fields(Experiment) if values[field.name] != _default(field)]
    rows = [(field.name, json.dumps(values[field.name], default=_name)) for field in fields]
    return _table(rows or [("all", "as by default")])


def _default(field):
    made = field.default_factory is not dataclasses.MISSING
    return field.default_factory() if made else field.default


def _name(value):
    return getattr(value, "__qualname__", str(value))


def _table(rows):
    cells = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


# === Curves ===


def _curves(path):
    """A curve for each column of a log, by epochs."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in (rows[0] if rows else {}) if name != "epoch"]
    points = {name: [(int(row["epoch"]) + 1, float(row[name])) for row in rows if row[name]] for name in names}
    return "\n".join(_curve(name, values) for name, values in points.items() if values)


def _curve(name, points):
    """An SVG of (epoch, value) pairs, with the first, the last, the least and the largest value in words."""
    epochs, values = zip(*points, strict=True)
    low, high = min(values), max(values)
    wide, tall = max(epochs[-1] - epochs[0], 1), (high - low) or 1.0
    places = [
        f"{WIDTH * (epoch - epochs[0]) / wide:.1f},{HEIGHT * (high - value) / tall:.1f}" for epoch, value in points
    ]
    told = f"{name}: {values[0]:.4g} after epoch {epochs[0]}, {values[-1]:.4g} after epoch {epochs[-1]}"
    return (
        f'<figure><svg viewBox="-{LABELS} -15 {WIDTH + LABELS + 15} {HEIGHT + 40}" width="{WIDTH + LABELS + 15}" '
        f'role="img" aria-label="{html.escape(told)}"><line x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>'
        f'<text x="-5" y="5" text-anchor="end">{high:.4g}</text>'
        f'<text x="-5" y="{HEIGHT}" text-anchor="end">{low:.4g}</text>'
        f'<text x="0" y="{HEIGHT + 18}">epoch {epochs[0]}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT + 18}" text-anchor="end">epoch {epochs[-1]}</text>'
        f'<polyline points="{" ".join(places)}"/></svg><figcaption>{html.escape(told)}</figcaption></figure>'
    )
