"""Baselines: what a VAE and a GAN make of the latents of diffusion. A record, as their networks don't ship."""

import json
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image

from latentdiff.explain import style

RECORD = Path(__file__).with_name("baselines_record")  # benchmarks/baselines.py writes it
COLUMNS = 8  # of a sheet
# Those that a record may hold.
MAKERS = {"vae": "VAE", "gan": "GAN", "diffusion": "diffusion", "diffusion_in_full": "diffusion"}
# Measures of the record: what each is called, and how it is written.
MEASURES = {
    "calls": ("network calls per image", "{:d}"),
    "seconds": ("seconds per image on {timed_on}", "{:.2g}"),
    "kid_x1000": ("distance from real images, KID × 1000", "{:.3g}"),
    "diversity": ("diversity: distance within one prompt", "{:.2f}"),
    "emoji_at_5": ("right emoji among the five nearest", "{:.1%}"),
}


def load_record():
    """What benchmarks/baselines.py has written.

    Returns:
        dict, its JSON file.
        uint8 array (makers, columns, height, width, 3), the first row of each sheet.

    Raises:
        ValueError: a file is missing.
    """
    try:
        record = json.loads((RECORD / "baselines.json").read_text(encoding="utf-8"))
        return record, np.stack([_first_row(RECORD / f"{name}.webp", record["prompts"]) for name in record["makers"]])
    except FileNotFoundError as error:
        raise ValueError(
            f"the figure `baselines` needs a record that benchmarks/baselines.py makes with --output {RECORD}. "
            f"Received: no {error.filename}"
        ) from error


def _first_row(path, prompts):
    """The images (columns, height, width, 3) of the first prompts of a sheet."""
    with Image.open(path) as image:
        sheet = np.asarray(image.convert("RGB"))
    columns, rows = min(COLUMNS, len(prompts)), -(-len(prompts) // COLUMNS)
    height = sheet.shape[0] // rows
    return sheet[:height].reshape(height, columns, -1, 3).swapaxes(0, 1)


def draw(lesson):
    """A row of images for each maker, and what each costs and gives."""
    record, tiles = load_record()
    labels = [
        f"{MAKERS[name]},\n" + textwrap.fill(measures["trained"], 15) for name, measures in record["makers"].items()
    ]
    columns = [textwrap.fill(prompt, 12) for prompt in record["prompts"][: tiles.shape[1]]]
    heights = 1.3 * len(labels), 0.9 * len(labels)  # of the images, of the bars
    figure = style.new_figure(0.3 + sum(heights), "Baselines: a VAE, a GAN and diffusion on the same latents")
    above, below = figure.subfigures(2, 1, height_ratios=heights)
    style.show_tiles(above.add_subplot(), tiles, columns, labels)
    for axes, name in zip(below.subplots(1, len(MEASURES), sharey=True), MEASURES, strict=True):
        _draw_bars(axes, labels, record, name)
    axes.invert_yaxis()
    return lesson.save(figure, "baselines", record)


def _draw_bars(axes, labels, record, name):
    title, written = MEASURES[name]
    values = [measures[name] for measures in record["makers"].values()]
    colours = [style.SIGNAL if maker.startswith("diffusion") else style.NOISE for maker in record["makers"]]
    bars = axes.barh(labels, values, color=colours)
    axes.bar_label(bars, [written.format(value) for value in values], padding=3)
    axes.set_xlim(0, 1.4 * max(values) or 1)  # room for the numbers
    axes.set_title(textwrap.fill(title.format(**record), 20), fontsize=10)
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(length=0, labelbottom=False)
