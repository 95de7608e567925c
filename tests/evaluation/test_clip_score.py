import numpy as np
import pytest

from latentdiff.evaluation import clip_score


def mean_colour(images):
    return np.asarray(images).mean((1, 2))


def colour_name(prompts):
    return np.array([{"red": [5, -5, -5], "white": [1, 1, 1], "cyan": [-1, 1, 1]}[prompt] for prompt in prompts])


def test_cosine_of_picture_and_prompt():
    red = np.broadcast_to(np.array([255, 0, 0], "uint8"), (3, 4, 4, 3))
    scores = clip_score(mean_colour, colour_name, red, ["red", "white", "cyan"], batch_size=2)
    np.testing.assert_allclose(scores, [1, -1 / 3, -1], rtol=1e-6)


def test_errors():
    images = np.zeros((2, 4, 4, 3), "uint8")
    with pytest.raises(ValueError, match="`prompts` must be one for each image. Received: 1 for 2"):
        clip_score(mean_colour, colour_name, images, ["red"])
    with pytest.raises(ValueError, match="same shape"):
        clip_score(mean_colour, lambda prompts: np.zeros((len(prompts), 4)), images, ["red", "red"])
