"""Variety: one prompt, sixteen seeds."""

import numpy as np

from latentdiff.explain import style

COLUMNS = 8


def draw(lesson):
    """Sixteen images that differ in their seed only."""
    prompt, seeds = lesson.prompts[0], lesson.seed + np.arange(16)
    pictures = lesson.generate([prompt] * 16, seeds)
    figure = style.new_figure(3.1, f"Variety: “{prompt}” from sixteen seeds")
    tiles = pictures.reshape(-1, COLUMNS, *pictures.shape[1:])
    style.show_tiles(figure.add_subplot(), tiles, captions=[f"seed {seed}" for seed in seeds])
    far = np.abs(pictures[1:].astype("float32") - pictures[:-1]).mean()
    numbers = {"prompt": prompt, "seeds": seeds, "difference_of_neighbours_in_levels": far}
    return lesson.save(figure, "variety", numbers)
