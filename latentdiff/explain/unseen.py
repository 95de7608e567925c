"""Unseen: prompts for subjects outside of the training set, and the most similar training images."""

import numpy as np

from latentdiff.evaluation import nearest_neighbours
from latentdiff.explain import style

PROMPTS = (
    "a cat riding a bicycle, flat",
    "a house made of cheese, 3d",
    "a blue rose, 3d",
    "a map of Brazil, noto",
    "a wedding photograph, 3d",
    "the word hello, twemoji",
    "democracy, flat",
    "xqzv blorp, noto",
)
YARDSTICK = 200


def draw(lesson):
    """Images of unseen subjects; where there are real images, the nearest training image below each."""
    pictures = lesson.generate(PROMPTS, [lesson.seed] * len(PROMPTS))
    numbers, tiles, captions = {"prompts": PROMPTS, "seed": lesson.seed}, [pictures], list(PROMPTS)
    if lesson.can_measure("the nearest real images"):
        rows, similarities = nearest(lesson, pictures)
        tiles.append(lesson.real.images[rows])
        captions += [f"{lesson.real.captions[row]} ({x:.2f})" for row, x in zip(rows, similarities, strict=True)]
        numbers |= {"nearest": captions[len(PROMPTS) :], **yardstick(lesson)}
    figure = style.new_figure(1.9 + 1.5 * (len(tiles) - 1), "Confidently wrong: prompts for subjects never seen")
    rows = ["it draws", "nearest it\nhas seen"][: len(tiles)]
    style.show_tiles(figure.add_subplot(), np.stack(tiles), rows=rows, captions=captions)
    return lesson.save(figure, "unseen", numbers)


def nearest(lesson, pictures):
    """Rows of the most similar real images and their cosines, among the training images if there are any."""
    training = lesson.real.training if lesson.real.training.any() else np.ones_like(lesson.real.training)
    allowed = np.broadcast_to(training, (len(pictures), len(training)))
    rows, similarities = nearest_neighbours(lesson.features(pictures), lesson.real_features, allowed=allowed)
    return rows[:, 0], similarities[:, 0]


def yardstick(lesson):
    """Similarity of held-out real images to the training images: median and highest cosine."""
    training = lesson.real.training
    if training.all() or not training.any():
        return {}
    rows = lesson.real.held_out(YARDSTICK, lesson.seed)
    allowed = np.broadcast_to(training, (len(rows), len(training)))
    found = nearest_neighbours(lesson.real_features[rows], lesson.real_features, allowed=allowed)[1]
    return {"held_out_median": np.median(found), "held_out_highest": found.max()}
