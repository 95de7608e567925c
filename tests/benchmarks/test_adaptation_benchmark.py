import keras
import numpy as np
import pytest
from harness import gap, normal, tiny_text_to_image

from benchmarks.adaptation import compare


@pytest.mark.slow
def test_compare():
    """Where the training images are those of one way, its similarity is one, and it alone is asked for its word."""
    plain, worded = tiny_text_to_image(), tiny_text_to_image()
    worded.model.text_encoder.words.insert("<x>", 3.0 * normal(0, 2, 12))
    expected = worded.generate(["a <x>", "red <x>"], seed=0, num_images=2)

    def features(images):
        return keras.ops.reshape(images, (len(images), -1))

    ways = {"plain": (plain, "cat"), "word": (worded, "<x>")}
    images, rows = compare(ways, ["a WORD", "red WORD"], expected, features)
    assert gap(np.concatenate(images["word"]), expected) <= 1
    assert gap(np.concatenate(images["plain"]), plain.generate(["a cat", "red cat"], seed=0, num_images=2)) <= 1
    assert [row["prompt"] for row in rows] == ["a WORD", "red WORD"]
    assert all(row["word"] > 0.999 > row["plain"] for row in rows)
