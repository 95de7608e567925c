"""The shipped preset draws what it drew before the package was rebuilt."""

import numpy as np
import pytest
from golden import make_emoji_128_images as golden
from harness import needs_tensorflow

from latentdiff.presets.folder import preset_folder

LEVELS = 1  # of 255


@pytest.mark.slow
@needs_tensorflow
def test_shipped_preset_draws_the_images_of_commit_94b4a44(capsys):
    expected = golden.read_images()
    assert expected.shape == (24, 128, 128, 3)
    drawn = golden.draw_all(preset_folder("emoji-128"), first=expected[0])
    gaps = np.abs(drawn.astype(int) - expected).max(axis=(1, 2, 3))
    assert (gaps <= LEVELS).all(), f"levels of 255 by request: {gaps.tolist()}"
