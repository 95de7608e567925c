"""Figures that show how diffusion works, made from a real model and real pictures. One file a figure."""

import importlib

# Figures in the order in which they make a lesson, and what each shows. A figure is a module here with `draw(lesson)`.
FIGURES = {
    "forward": "a picture destroyed in small even steps, for each noise schedule",
    "reverse": "what the network makes of a noisy picture, at eight noise levels",
    "trajectory": "a picture comes out of static: what is there, and what the network guesses",
    "steps": "the same static with 1 to 128 steps",
    "variety": "one prompt, sixteen patterns of static",
    "steering": "one static, sixteen prompts",
    "guidance": "the same static, guided from 1 to 10",
    "unseen": "prompts for things that the model has never seen, beside the nearest real pictures",
    "baselines": "a VAE and a GAN on the same latents, beside diffusion",
}


def draw(lesson, name):
    """Makes one figure.

    Args:
        lesson: a `lesson.Lesson`.
        name: one of `FIGURES`.

    Returns:
        list of the files written.

    Raises:
        ValueError: no such figure, or matplotlib is missing.
    """
    if name not in FIGURES:
        raise ValueError(f"`name` must be one of {list(FIGURES)}. Received: name={name!r}")
    from latentdiff.explain.style import lecture_style

    with lecture_style():
        return importlib.import_module(f"latentdiff.explain.{name}").draw(lesson)
