"""Steering: one seed, sixteen prompts."""

from latentdiff.explain import style

COLUMNS = 8


def draw(lesson):
    """Sixteen images that differ in their prompt only."""
    prompts = (lesson.prompts * 16)[:16]
    pictures = lesson.generate(prompts, [lesson.seed] * 16)
    figure = style.new_figure(3.4, "Steering: the same initial noise, sixteen prompts")
    tiles = pictures.reshape(-1, COLUMNS, *pictures.shape[1:])
    style.show_tiles(figure.add_subplot(), tiles, captions=prompts)
    return lesson.save(figure, "steering", {"prompts": prompts, "seed": lesson.seed})
