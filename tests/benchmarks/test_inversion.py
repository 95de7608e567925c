import numpy as np
import pytest
from harness import tiny_text_to_image

from benchmarks import inversion
from latentdiff import TextToImage


def test_measure():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype="uint8")
    row = inversion.measure(tiny_text_to_image(), images, ["a cat", "red"], 10, 2)
    assert len(row["psnr"]) == len(row["autoencoder_psnr"]) == 2
    assert row["largest_loss"] >= row["median_loss"]


@pytest.mark.slow
def test_the_shipped_preset_comes_back():
    """Within 1 dB of its autoencoder, on pictures of its own."""
    model = TextToImage.from_preset("emoji-128")
    prompts = ["red apple, 3d", "grinning cat, flat"]
    images = model.generate(prompts, seed=7, num_steps=20)
    row = inversion.measure(model, images, prompts, 50, 5)
    assert row["largest_loss"] < 1.0
    assert 0.8 < row["noise_std"] < 1.1
