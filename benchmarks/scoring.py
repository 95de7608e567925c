"""Scores of images as pure functions of arrays, the same for generated and for real images."""

import dataclasses

import numpy as np

from latentdiff.evaluation import KID, FrechetDistance, diversity, memorisation, nearest_neighbours, psnr, recall_at_k

# Files in the folder of measuring networks.
FEATURE_WEIGHTS = "efficientnet_lite0_f16.npz"
LPIPS_WEIGHTS = "lpips_alexnet_f16.npz"
DIVERSITY = (25, 4)  # prompts, seeds of each
# Share of real validation images that come nearer to another emoji's training image than the copy threshold.
COPY_QUANTILE = 0.02


@dataclasses.dataclass(frozen=True)
class Gallery:
    """All real images.

    Attributes:
        features: float32 array (n, dim).
        ids: str array (n,), which emoji each shows.
        styles: str array (n,), in which style.
        training: bool array (n,), whether the model was trained on it.
    """

    features: np.ndarray
    ids: np.ndarray
    styles: np.ndarray
    training: np.ndarray


def retrieval_scores(features, asked, gallery):
    """Whether the nearest real images show what was asked.

    Args:
        features: float array (n, dim) of the images to score.
        asked: `benchmarks.asked.Asked` of length n.
        gallery: `Gallery`; holds each asked (emoji, style) where `joint` is to be reachable.

    Returns:
        dict: `joint`, the nearest of all has the right emoji and the right style; `within_style`, the nearest of the
        asked style has the right emoji; `emoji_at_5`, one of the five nearest has the right emoji; `style`, the
        nearest of all has the right style.
    """
    nearest, _ = nearest_neighbours(features, gallery.features, k=5)
    in_style = np.asarray(asked.styles)[:, None] == gallery.styles[None]
    within, _ = nearest_neighbours(features, gallery.features, allowed=in_style)
    first = nearest[:, 0]
    pairs = [[pair] for pair in zip(gallery.ids[first], gallery.styles[first], strict=True)]
    right_pairs = [{(i, style) for i in ids} for ids, style in zip(asked.ids, asked.styles, strict=True)]
    return {
        "joint": recall_at_k(pairs, right_pairs),
        "within_style": recall_at_k(gallery.ids[within], asked.ids),
        "emoji_at_5": recall_at_k(gallery.ids[nearest], asked.ids),
        "style": float(np.mean(gallery.styles[first] == asked.styles)),
    }


class SetScores:
    """Distances of whole sets of images from the same real ones.

    Args:
        real_features: float array (m, dim).

    Call arguments:
        features: float array (n, dim).

    Returns:
        dict of `kid_x1000` and `frechet`.
    """

    def __init__(self, real_features):
        self.kid, self.frechet = KID(), FrechetDistance()
        for metric in (self.kid, self.frechet):
            metric.update_real(real_features)

    def __call__(self, features):
        for metric in (self.kid, self.frechet):
            metric.reset_generated()
            metric.update_generated(features)
        return {"kid_x1000": 1000 * self.kid.result().value, "frechet": self.frechet.result().value}


def copy_distances(features, asked, gallery):
    """Distance of each image from the nearest training image of an emoji that was not asked, (n,)."""
    allowed = np.array([gallery.training & ~np.isin(gallery.ids, list(ids)) for ids in asked.ids])
    return memorisation(features, gallery.features, allowed)[0]


def copy_scores(features, asked, gallery, threshold):
    """Wrong copies: dict of `wrong_copies`, the share nearer than `threshold`, and `median_copy_distance`."""
    distances = copy_distances(features, asked, gallery)
    return {
        "wrong_copies": float(np.mean(distances < threshold)),
        "median_copy_distance": float(np.median(distances)),
    }


def copy_threshold(real_features, asked, gallery):
    """The distance that all but `COPY_QUANTILE` of real images, not trained on, keep from wrong training images."""
    return float(np.quantile(copy_distances(real_features, asked, gallery), COPY_QUANTILE))


def nearest_answers(features, asked, gallery, labels):
    """For reading: one dict for each image of its prompt, what the nearest real image is, and whether both fit."""
    rows = nearest_neighbours(features, gallery.features)[0][:, 0]
    return [
        {
            "prompt": prompt,
            "nearest": f"{labels[row]}, {gallery.styles[row]}",
            "emoji": bool(gallery.ids[row] in ids),
            "style": bool(gallery.styles[row] == style),
        }
        for prompt, ids, style, row in zip(asked.prompts, asked.ids, asked.styles, rows, strict=True)
    ]


def diversities(pictures, num_seeds, distance):
    """The diversity of each prompt's `num_seeds` images, which follow one another: list of floats."""
    groups = pictures.reshape(-1, num_seeds, *pictures.shape[1:])
    return [diversity(distance, group) for group in groups]


def reconstruction_scores(images, reconstructions, distances):
    """Of uint8 images, their reconstructions and their LPIPS distances (n,): dict of medians and means."""
    ratios = psnr(images, reconstructions)
    return {
        "psnr_median": float(np.median(ratios)),
        "psnr_lowest": float(np.min(ratios)),
        "lpips_mean": float(np.mean(distances)),
        "lpips_highest": float(np.max(distances)),
    }
