import numpy as np
import pytest
from harness import tiny_text_to_image

from benchmarks import inversion
from latentdiff import TextToImage


@pytest.mark.slow
def test_measure():
    """Images come back as their reconstructions are, the better the more often each step is refined."""
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype="uint8")
    model, gaps = tiny_text_to_image(), []
    for num_iterations in (1, 5):
        row = inversion.measure(model, images, ["a cat", "red"], 10, num_iterations)
        after, own = np.array(row["psnr"]), np.array(row["autoencoder_psnr"])
        assert row["largest_loss"] == (own - after).max() < 0.05 and row["median_loss"] == np.median(own - after)
        gaps.append(np.abs(own - after).max())
    assert gaps[1] < 0.5 * gaps[0]


@pytest.mark.slow
def test_the_shipped_preset_comes_back():
    """Within 1 dB of its autoencoder, on images of its own."""
    model = TextToImage.from_preset("emoji-128")
    prompts = ["red apple, 3d", "grinning cat, flat"]
    images = model.generate(prompts, seed=7, num_steps=20)
    row = inversion.measure(model, images, prompts, 50, 5)
    assert row["largest_loss"] < 1.0
    assert 0.8 < row["noise_std"] < 1.1
