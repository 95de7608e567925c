"""The VAE and the GAN learn from the latents of a run."""

import keras
import numpy as np
import pytest
from harness import largest_change, normal, tiny_autoencoder
from tiny_run import CAPTIONS, losses, save_text_encoder, write_experiment

from latentdiff.recipes.baselines.networks import CODE_DIM, caption_features
from training import train_baseline


@pytest.mark.slow
def test_the_baselines_learn_from_the_same_latents(stage, tmp_path):
    write_experiment(tmp_path / "experiment.py", 1e-2, image_size=16, epochs=2)
    encoder = save_text_encoder(tmp_path / "text")
    (tmp_path / "run").mkdir()
    tiny_autoencoder().save(tmp_path / "run" / "autoencoder.keras")
    stage("latents", "--data", tmp_path / "mine")
    for name, rest in {"vae": [], "gan": ["--minutes", "1e-6"]}.items():
        fixed = [name, "--experiment", tmp_path / "experiment.py", "--output", tmp_path / "run", "--quick"]
        assert train_baseline.main([*map(str, fixed), "--text-encoder", str(tmp_path / "text"), *rest]) == 0
        generator = keras.saving.load_model(tmp_path / "run" / f"{name}.keras")
        made = generator([normal(0, 1, CODE_DIM).repeat(2, axis=0), caption_features(encoder, CAPTIONS[:2])])
        assert made.shape == (2, 8, 8, 3)
        assert largest_change(made[:1], made[1:]) > 1e-3, name  # of the same code, by their captions
    first, last = losses(tmp_path / "run/vae/log.csv")
    assert last < 0.9 * first
    assert np.isfinite(losses(tmp_path / "run/gan/log.csv")).all()


def test_a_baseline_needs_a_text_encoder(tmp_path, capsys):
    assert train_baseline.main(["vae", "--output", str(tmp_path / "run")]) == 2
    assert "--text-encoder must be given" in capsys.readouterr().err and not (tmp_path / "run").exists()
