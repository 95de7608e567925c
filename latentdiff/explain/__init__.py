"""Figures that show how diffusion works, made from a real model and real images. One file per figure."""

import importlib

# Figures in the order of the course, and what each shows. A figure is a module here with `draw(lesson)`.
FIGURES = {
    "forward": "noise added to an image in small even steps, for each noise schedule",
    "reverse": "what the network predicts for a noisy image, at eight noise levels",
    "trajectory": "from noise to an image: noisy latents and predictions, step by step",
    "steps": "the same initial noise with 1 to 128 steps",
    "variety": "one prompt, sixteen seeds",
    "steering": "one seed, sixteen prompts",
    "guidance": "the same initial noise with guidance from 1 to 10",
    "unseen": "prompts for subjects that the model has never seen, beside the nearest real images",
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
