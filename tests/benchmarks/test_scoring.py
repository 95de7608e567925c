import numpy as np
import pytest

from benchmarks import references, scoring
from benchmarks.asked import Asked

STYLES = ["flat", "3d", "outline"]
NUM_EMOJI = 8


@pytest.fixture
def gallery():
    """Each emoji in each style: a direction of the emoji plus a smaller one of the style and one of the image."""
    rng = np.random.default_rng(0)
    emoji, style, own = rng.normal(size=(NUM_EMOJI, 32)), rng.normal(size=(3, 32)), rng.normal(size=(NUM_EMOJI, 3, 32))
    features = emoji[:, None] + 0.5 * style + 0.3 * own
    training = np.ones((NUM_EMOJI, 3), bool)
    training[:4, 0] = False  # the first four are held out in "flat"
    ids = np.repeat([f"e{i}" for i in range(NUM_EMOJI)], 3)
    return scoring.Gallery(features.reshape(-1, 32), ids, np.tile(STYLES, NUM_EMOJI), training.ravel())


@pytest.fixture
def held_out(gallery):
    rows = np.flatnonzero(~gallery.training)
    ids = gallery.ids[rows]
    return rows, Asked([f"{i}, flat" for i in ids], [{str(i)} for i in ids], ["flat"] * len(rows))


def test_real_pictures_are_the_ceiling(gallery, held_out):
    rows, asked = held_out
    scores = scoring.retrieval_scores(gallery.features[rows], asked, gallery)
    assert scores == {"joint": 1.0, "within_style": 1.0, "emoji_at_5": 1.0, "style": 1.0}


def test_a_memoriser_never_scores_jointly(gallery, held_out):
    _, asked = held_out
    answers = references.memoriser_answers(asked, gallery)
    assert gallery.training[answers].all()
    assert (gallery.ids[answers] == [next(iter(ids)) for ids in asked.ids]).all()
    assert (gallery.styles[answers] != "flat").all()
    scores = scoring.retrieval_scores(gallery.features[answers], asked, gallery)
    assert (scores["joint"], scores["style"], scores["emoji_at_5"]) == (0.0, 0.0, 1.0)


def test_one_right_answer_of_several_counts(gallery):
    rows = np.array([0, 3, 6])  # e0, e1 and e2 in "flat"
    asked = Asked(["a", "b", "c"], [{"e0", "e5"}, {"e5"}, {"e2"}], ["flat", "flat", "3d"])
    scores = scoring.retrieval_scores(gallery.features[rows], asked, gallery)
    np.testing.assert_allclose([scores["joint"], scores["style"]], [1 / 3, 2 / 3])
    np.testing.assert_allclose(scores["within_style"], 2 / 3)
    answers = scoring.nearest_answers(gallery.features[rows], asked, gallery, gallery.ids)
    assert answers[0] == {"prompt": "a", "nearest": "e0, flat", "emoji": True, "style": True}
    assert answers[1]["emoji"] is False and answers[2]["style"] is False


def test_wrong_copies(gallery, held_out):
    rows, asked = held_out
    threshold = scoring.copy_threshold(gallery.features[rows], asked, gallery)
    real = scoring.copy_scores(gallery.features[rows], asked, gallery, threshold)
    assert real["wrong_copies"] <= 0.25
    others = np.flatnonzero(gallery.ids == "e7")[:1].repeat(len(rows))
    copies = scoring.copy_scores(gallery.features[others], asked, gallery, threshold)
    assert copies["wrong_copies"] == 1.0
    assert abs(copies["median_copy_distance"]) < 1e-6
    own = np.array([np.flatnonzero((gallery.ids == next(iter(ids))) & gallery.training)[0] for ids in asked.ids])
    assert scoring.copy_distances(gallery.features[own], asked, gallery).min() > 0.1


def test_set_scores(gallery):
    score = scoring.SetScores(gallery.features)
    same, other = score(gallery.features), score(gallery.features + 3)
    assert same["kid_x1000"] < 0 and abs(same["frechet"]) < 1e-8
    assert other["kid_x1000"] > 1000
    np.testing.assert_allclose(other["frechet"], 32 * 9)
    assert score(gallery.features) == same


def test_reconstruction_scores():
    images = np.zeros((3, 4, 4, 3), "uint8")
    worse = images + np.array([1, 2, 255], "uint8")[:, None, None, None]
    scores = scoring.reconstruction_scores(images, worse, np.array([0.1, 0.2, 0.6]))
    np.testing.assert_allclose(scores["psnr_median"], 20 * np.log10(255 / 2))
    np.testing.assert_allclose([scores["psnr_lowest"], scores["lpips_mean"], scores["lpips_highest"]], [0, 0.3, 0.6])
