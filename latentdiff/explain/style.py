"""The one look of all figures. The only file that imports matplotlib."""

import io
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from latentdiff.whole_files import replaced

SIGNAL, NOISE, REFERENCE = "#2563eb", "#ea580c", "#6b7280"
TEXT, AXIS = "#1f2937", "#374151"
OWN_COLOURS = (SIGNAL, NOISE, REFERENCE, TEXT, AXIS)
WIDTH = 10.0  # inches
LINES = 4  # of a caption
NEARLY_WHITE = 246
DPI = 100  # 1,000 pixels wide: what a README shows
RULES = {
    "font.size": 11,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 2.2,
    "lines.markersize": 6,
    "text.color": TEXT,
    "text.parse_math": False,  # captions may have dollar signs
    "axes.edgecolor": AXIS,
    "axes.labelcolor": TEXT,
    "xtick.color": AXIS,
    "ytick.color": AXIS,
    "figure.facecolor": "white",
}


def lecture_style():
    """A context in which everything drawn looks as it should; ValueError where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError as error:
        raise ValueError('figures need matplotlib: pip install "latentdiff[docs]"') from error
    return matplotlib.rc_context(RULES)


def new_figure(height, title):
    """An empty figure of the common width, `height` in inches, with a title on top."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=14, fontweight="bold")
    return figure


def show_tiles(axes, tiles, columns=None, rows=None, captions=None, gap=3):
    """Lays images out in a table.

    Args:
        axes: where to draw.
        tiles: uint8 array (rows, columns, height, width, 3).
        columns: texts above the columns.
        rows: texts to the left of the rows.
        captions: texts below each image, in reading order.
        gap: white pixels between images, of those with a side of 100.
    """
    count, across, height, width, _ = tiles.shape
    gap = max(1, round(gap * width / 100))
    wrapped = [textwrap.wrap(caption, max(10, round(112 / across)))[:LINES] for caption in captions or []]
    below = gap + round(0.14 * height * max(map(len, wrapped), default=0))
    canvas = np.full((count * (height + below) - gap, across * (width + gap) - gap, 3), 255, "uint8")
    for row, column in np.ndindex(count, across):
        y, x = row * (height + below), column * (width + gap)
        canvas[y : y + height, x : x + width] = tiles[row, column]
    axes.imshow(canvas, interpolation="antialiased" if width >= 64 else "nearest")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    centres = np.arange(across) * (width + gap) + width / 2
    axes.set_xticks(centres if columns is not None else [], columns if columns is not None else [])
    axes.set_yticks(np.arange(count) * (height + below) + height / 2 if rows is not None else [], rows or [])
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    for index, lines in enumerate(wrapped):
        y = (index // across) * (height + below) + height + gap
        axes.text(centres[index % across], y, "\n".join(lines), ha="center", va="top", fontsize=8.5, linespacing=1.05)


def save_figure(figure, path, colours=256, dither=True):
    """Writes a figure as a PNG of few colours, which keeps it small; returns its path. Noise needs no dither."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.08)
    picture = Image.open(buffer).convert("RGB")
    palette = picture.quantize(colours, method=Image.Quantize.MEDIANCUT)
    entries = np.array(palette.getpalette()[: 3 * colours]).reshape(-1, 3)
    used = np.bincount(np.asarray(palette).ravel(), minlength=len(entries))
    # Thin lines would else get the colour of something larger.
    entries[np.argsort(used)[: len(OWN_COLOURS)]] = [ImageColor.getrgb(colour) for colour in OWN_COLOURS]
    entries[entries.min(1) > NEARLY_WHITE] = 255  # Pillow looks colours up in a coarse table: paper must stay white
    palette.putpalette(entries.ravel().tolist())
    picture = picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG if dither else Image.Dither.NONE)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as draft:
        picture.save(draft, "PNG", optimize=True)
    return path
