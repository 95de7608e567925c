"""Guidance: how strictly the prompt is followed, and the cost in variety."""

import itertools

import numpy as np

from latentdiff.evaluation import nearest_neighbours
from latentdiff.explain import style
from latentdiff.settings.prompt_syntax import escape

SCALES = (1, 2, 3, 4, 6, 10)
SEEDS = 2
SHOWN = 3


def truth(features, wanted, real_features, labels):
    """Truth of images to their prompts: similarity (cosine) to the nearest real image with the right label, and the
    share of images whose nearest real image has the right label.

    Args:
        features: (n, dim), of the images.
        wanted: n labels.
        real_features: (m, dim).
        labels: m labels.
    """
    right = np.array([[label == want for label in labels] for want in wanted])
    nearest = nearest_neighbours(features, real_features)[0]
    likeness = nearest_neighbours(features, real_features, allowed=right)[1]
    return float(likeness.mean()), float(np.take_along_axis(right, nearest, axis=1).mean())


def spread(features):
    """Mean distance (1 - cosine) of all pairs among features (n, dim)."""
    features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return float(np.mean([1 - first @ second for first, second in itertools.combinations(features, 2)]))


def draw(lesson):
    """Images by guidance, and the curves of truth and diversity."""
    measured = lesson.can_measure("the curves of truth and diversity over guidance")
    texts, prompts, labels = _asked(lesson, max(lesson.count // SEEDS, SHOWN) if measured else SHOWN)
    seeds = SEEDS if measured else 1
    rows = [(prompt, lesson.seed + seed) for prompt in prompts for seed in range(seeds)]
    pictures = [lesson.generate(*zip(*rows, strict=True), guidance_scale=float(scale)) for scale in SCALES]
    figure = style.new_figure(7.0 if measured else 4.9, "Guidance: from loosely to strictly following the prompt")
    parts = figure.subfigures(2, 1, height_ratios=(4.9, 2.4)) if measured else [figure]
    shown = np.stack(pictures)[:, ::seeds][:, :SHOWN].swapaxes(0, 1)
    columns = [f"guidance {scale}" for scale in SCALES]
    style.show_tiles(parts[0].add_subplot(), shown, columns, [text.replace(", ", ",\n") for text in texts[:SHOWN]])
    numbers = {"prompts": texts, "scales": SCALES, "seeds": seeds}
    if measured:
        numbers |= _measure(lesson, pictures, [label for label in labels for _ in range(seeds)])
        _draw_curves(parts[1], numbers)
    return lesson.save(figure, "guidance", numbers, colours=200)


def _asked(lesson, count):
    """Texts, the prompts for them, and labels: of held-out images if there are any, else prompts alone."""
    if lesson.real is None:
        return lesson.prompts[:count], lesson.prompts[:count], None
    rows = lesson.real.held_out(count, lesson.seed)
    captions = [lesson.real.captions[row] for row in rows]
    return captions, [escape(caption) for caption in captions], [lesson.real.labels[row] for row in rows]


def _measure(lesson, pictures, wanted):
    truths, spreads = [], []
    for some in pictures:
        features = lesson.features(some)
        truths.append(truth(features, wanted, lesson.real_features, lesson.real.labels))
        spreads.append(np.mean([spread(group) for group in features.reshape(-1, SEEDS, features.shape[-1])]))
    truths, shares = zip(*truths, strict=True)
    return {"truth": truths, "right": shares, "diversity": spreads, "pictures": len(wanted)}


def _draw_curves(figure, numbers):
    panels = {
        "truth": "truth: similarity to a real image of the subject",
        "diversity": "diversity: distance of images of one prompt",
    }
    for axes, (name, title) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        axes.plot(SCALES, numbers[name], "o-", color=style.SIGNAL if name == "truth" else style.NOISE)
        axes.set(xlabel="guidance", xticks=SCALES, ylim=(0, None) if name == "diversity" else None)
        axes.set_title(title, fontsize=10)
