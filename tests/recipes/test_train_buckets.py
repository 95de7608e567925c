"""Training on images of several proportions: `bucket_step`."""

import numpy as np
import pytest
from harness import first_fast, tiny_text_to_image, tiny_unet
from PIL import Image
from tiny_run import write_experiment

from latentdiff import TextToImage
from latentdiff.models.latent_diffusion import LatentDiffusion
from latentdiff.models.networks import check_sides, with_any_size

SIZES = [(8, 8), (8, 8), (6, 10), (10, 6)]


@pytest.fixture
def wide_folder(folder):
    """The folder of four images, in three proportions."""
    for row, size in enumerate(SIZES):
        Image.fromarray(np.full((*size, 3), 60 * row, "uint8")).save(folder / f"{row}.png")
    return folder


@pytest.mark.parametrize("options", first_fast([(["--lora-rank", "2"],), ([],)]), ids=["lora", "network"])
def test_one_function_is_compiled_for_each_bucket(options, stage, wide_folder, tmp_path, monkeypatch):
    tiny_text_to_image().save_to_preset(tmp_path / "start")
    write_experiment(tmp_path / "experiment.py", 1e-2, passes=4, epochs=2)
    stage("latents", "--data", wide_folder, "--init", tmp_path / "start", "--bucket-step", "2")
    made = {path.parts[-3]: np.load(path).shape for path in (tmp_path / "run").glob("latents_*/*/latents.npy")}
    sizes = {"8x8": (2, 1, 4, 4, 3), "6x10": (1, 1, 3, 5, 3), "10x6": (1, 1, 5, 3, 3)}
    assert made == {f"latents_train-{name}": shape for name, shape in sizes.items()}
    traced = []
    loss = LatentDiffusion.compute_loss

    def compute_loss(self, *args, **kwargs):
        traced.append(1)  # seen by Python only while the function is compiled
        return loss(self, *args, **kwargs)

    monkeypatch.setattr(LatentDiffusion, "compute_loss", compute_loss)
    stage("diffusion", "--init", tmp_path / "start", "--bucket-step", "2", *options)
    assert 1 <= len(traced) <= 4, traced  # not one for each of the 32 batches
    if options:
        assert (tmp_path / "run/lora.safetensors").is_file()
    else:
        wide = TextToImage.from_preset(tmp_path / "run/preset", image_size=(6, 10))
        assert wide.generate("a cat", seed=0).shape == (6, 10, 3)


def test_sizes_that_do_not_fit_are_refused(stage, wide_folder, tmp_path, capsys):
    tiny_text_to_image().save_to_preset(tmp_path / "start")
    write_experiment(tmp_path / "experiment.py", 1e-2)
    stage("latents", "--data", wide_folder, "--init", tmp_path / "start", "--bucket-step", "3", code=1)
    assert "`bucket_step` must be a multiple of 2, pixels per latent. Received: step=3" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"multiples of 2. Received: \[\(3, 4\)\]"):
        check_sides(tiny_unet(widths=(8, 8)), [(4, 4), (3, 4)])


def test_a_network_for_any_size_has_the_same_weights():
    network = tiny_unet()
    free = with_any_size(network)
    assert free.input["noisy_latents"].shape == (None, None, None, 3) and with_any_size(free) is free
    for one, other in zip(free.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
