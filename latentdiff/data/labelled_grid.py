"""A grid of images with a label over each column and before each row."""

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PADDING = 4
FONT_SIZE = 14
LABEL_LINES = 3  # of a label that is longer, the rest is left out


def labelled_grid(images, columns, rows):
    """Draws the grid on white.

    Args:
        images: list of uint8 arrays (height, width, 3), all of one size, row by row; where fewer than
            `len(columns) * len(rows)`, the last places stay empty.
        columns, rows: lists of labels; an empty label leaves its place white.

    Returns:
        uint8 array (grid height, grid width, 3).
    """
    height, width = images[0].shape[:2]
    font = ImageFont.load_default(FONT_SIZE)
    top = _margin(columns)
    left = max(width, 8 * FONT_SIZE) if any(rows) else 0
    wide = max(width, 4 * FONT_SIZE)
    size = left + len(columns) * (wide + PADDING), top + len(rows) * (height + PADDING)
    grid = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(grid)
    for column, label in enumerate(columns):
        draw.text((left + column * (wide + PADDING), 2), _wrapped(label, wide), "black", font)
    for row, label in enumerate(rows):
        draw.text((2, top + row * (height + PADDING)), _wrapped(label, left), "black", font)
    for index, image in enumerate(images):
        row, column = divmod(index, len(columns))
        grid.paste(Image.fromarray(image), (left + column * (wide + PADDING), top + row * (height + PADDING)))
    return np.asarray(grid)


def _margin(labels):
    return LABEL_LINES * (FONT_SIZE + 4) if any(labels) else 0


def _wrapped(label, width):
    lines = textwrap.wrap(label, max(4, int(width / (0.55 * FONT_SIZE))))
    return "\n".join(lines[:LABEL_LINES])
