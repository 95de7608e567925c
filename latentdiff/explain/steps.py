"""Steps: the same initial noise with one step or many: costs and gains."""

import time

import numpy as np

from latentdiff.evaluation import KID
from latentdiff.explain import style

COUNTS = (1, 2, 4, 8, 16, 32, 64, 128)
SHOWN = 3
SUBSETS = 50


def measure(lesson, prompts):
    """Images of the same prompts and seeds with each number of steps.

    Returns:
        images: uint8 (counts, n, height, width, 3).
        seconds: float (counts,), of one image in a batch of n.
    """
    seeds, pictures, seconds = lesson.seed + np.arange(len(prompts)), [], []
    lesson.generate(prompts, seeds, num_steps=1)  # compiles
    for count in COUNTS:
        start = time.perf_counter()
        pictures.append(lesson.generate(prompts, seeds, num_steps=count))
        seconds.append((time.perf_counter() - start) / len(prompts))
    return np.stack(pictures), np.array(seconds)


def differences(pictures):
    """Mean absolute difference, in levels, of each image from that with the most steps: (counts, n)."""
    last = pictures[-1].astype("float32")
    return np.stack([np.abs(some - last).mean((1, 2, 3)) for some in pictures])


def distances(lesson, pictures):
    """KID x 1000 between the images of each number of steps and the real ones, and its deviation over random halves."""
    values, deviations = [], []
    half = pictures.shape[1] // 2
    everything, halves = KID(), KID(subset_size=half, num_subsets=SUBSETS)
    for metric in (everything, halves):
        metric.update_real(lesson.real_features)
    for some in pictures:
        features = lesson.features(some)
        for metric in (everything, halves):
            metric.reset_generated()
            metric.update_generated(features)
        values.append(1000 * everything.result().value)
        deviations.append(1000 * halves.result().std / 2**0.5)  # a half spreads about sqrt(2) times as wide
    return np.array(values), np.array(deviations)


def draw(lesson):
    """Images by the number of steps, and curves of difference, distance and seconds."""
    prompts = (lesson.prompts * lesson.count)[: lesson.count]
    pictures, seconds = measure(lesson, prompts)
    difference = differences(pictures)
    numbers = {"steps": COUNTS, "pictures": lesson.count, "seconds": seconds, "difference": difference.mean(1)}
    figure = style.new_figure(6.8, "One step or many? The same initial noise with 1 to 128 steps")
    tiles, curves = figure.subfigures(2, 1, height_ratios=(4.2, 2.6))
    columns = [f"{count} step{'s' * (count > 1)}" for count in COUNTS]
    style.show_tiles(tiles.add_subplot(), pictures[:, :SHOWN].swapaxes(0, 1), columns, prompts[:SHOWN])
    panels = [("seconds per image", seconds, None), ("difference from 128 steps, levels", difference.mean(1), None)]
    if lesson.can_measure("the curve of KID over steps"):
        values, deviations = distances(lesson, pictures)
        numbers |= {"kid_x1000": values, "kid_x1000_deviation": deviations, "real_pictures": len(lesson.real_features)}
        panels.append(("distance from real images, KID × 1000", values, deviations))
    for axes, panel in zip(curves.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _draw_curve(axes, *panel)
    return lesson.save(figure, "steps", numbers, colours=200)


def _draw_curve(axes, title, values, deviations):
    axes.errorbar(COUNTS, values, deviations, fmt="o-", color=style.SIGNAL, capsize=3)
    axes.set_xscale("log", base=2)
    axes.set_xticks(COUNTS, COUNTS)
    axes.minorticks_off()
    axes.set_ylim(min(0, 1.1 * (values - (0 if deviations is None else deviations)).min()), None)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("steps")
