"""The training stages one after the other on a folder of images, as the tutorial has them."""

import itertools

import numpy as np
import pytest
from harness import gap, largest_change, tiny_text_to_image
from PIL import Image
from tiny_run import CAPTIONS, losses, save_text_encoder, write_experiment

from latentdiff import TextToImage
from latentdiff.data.batches import Batches
from latentdiff.data.images import image_grid
from latentdiff.recipes import diffusion


@pytest.fixture
def train(tmp_path, stage, folder):
    """Function (learning_rate, autoencoder_start, unet_start, **changes) -> the preset that the three stages write."""

    def train(learning_rate, autoencoder_start, unet_start, **changes):
        write_experiment(tmp_path / "experiment.py", learning_rate, **changes)
        stage("autoencoder", "--data", folder, *autoencoder_start)
        stage("latents", "--data", folder)
        stage("diffusion", *unet_start)
        return TextToImage.from_preset(tmp_path / "run" / "preset")

    return train


@pytest.mark.slow
def test_from_nothing_both_stages_learn(train, tmp_path, capsys, monkeypatch):
    save_text_encoder(tmp_path / "text")
    saved, save = [], TextToImage.save_to_preset

    def spy(self, *args, **kwargs):
        saved.append(self.model.unet.get_weights())
        save(self, *args, **kwargs)

    monkeypatch.setattr(TextToImage, "save_to_preset", spy)
    pipeline = train(1e-2, [], ["--text-encoder", tmp_path / "text"])
    for stage in ("autoencoder", "latent_diffusion"):
        first, *_, last = losses(tmp_path / "run" / stage / "log.csv")
        assert last < 0.97 * first, stage
    changes = [largest_change(before, after) for before, after in itertools.pairwise(saved)]
    assert len(changes) == 3 and min(changes[:2]) > 1e-3 and changes[2] == 0.0  # each epoch its own, the last one stays
    assert "median PSNR of 4 training images" in capsys.readouterr().out
    mean = pipeline.model.autoencoder.encode(np.array([Image.open(tmp_path / f"mine/{row}.png") for row in range(4)]))
    np.testing.assert_allclose(np.mean(mean, axis=(0, 1, 2)), 0.0, atol=0.02)  # latents were measured
    pictures = pipeline.generate(CAPTIONS[:2], seed=1)
    assert pictures.shape == (2, 8, 8, 3) and pictures.dtype == np.uint8


@pytest.mark.slow
def test_from_a_preset_its_weights_are_the_start(train, tmp_path, eagerly):
    start = tiny_text_to_image()
    start.save_to_preset(tmp_path / "start")
    options = ["--init", tmp_path / "start"]
    few = {name: 1 for name in ("autoencoder_epochs", "autoencoder_passes", "epochs", "passes")}
    model = train(0.0, options, options, **few).model  # learns nothing
    for name in ("unet", "text_encoder"):
        before, after = (getattr(part, name).get_weights() for part in (start.model, model))
        assert largest_change(before, after) < 2e-3, name  # float16 in the preset
    for part in ("encoder", "decoder"):
        before, after = (getattr(whole.autoencoder, part).get_weights() for whole in (start.model, model))
        assert largest_change(before, after) < 2e-3, part
    assert model.autoencoder.latent_noise == 0.25  # the losses are those of the experiment


@pytest.mark.slow
def test_a_clock_ends_both_stages(train, tmp_path, monkeypatch, eagerly):
    """After the first epoch: the preview is drawn, and validation saw the last image too, which fills no batch."""
    tiny_text_to_image().save_to_preset(tmp_path / "start")
    options = ["--init", tmp_path / "start", "--minutes", "1e-6"]
    monkeypatch.setattr(diffusion, "fitting_batch_size", lambda wanted, rows: min(rows, 3))
    validated, get = set(), Batches.__getitem__

    def spy(self, index):
        batch = get(self, index)
        if "latents" in batch and not self.shuffle:
            validated.add(len(batch["latents"]))
        return batch

    monkeypatch.setattr(Batches, "__getitem__", spy)
    pipeline = train(1e-2, options, options, validation_split="train", preview_prompts=None)
    assert validated == {3, 1}
    preview = np.asarray(Image.open(tmp_path / "run/previews/epoch_0001.png"))
    assert gap(preview, image_grid(pipeline.generate(CAPTIONS, seed=0))) <= 3  # float16 in the preset
    for stage in ("autoencoder", "latent_diffusion"):
        assert len(losses(tmp_path / "run" / stage / "log.csv")) == 1, stage  # of three epochs
