"""The scripts of the VAE and the GAN, apart from the others so that tests can run side by side."""

import keras
import numpy as np
from harness import largest_change, normal, tiny_autoencoder
from tiny_run import CAPTIONS, losses, save_text_encoder, write_config

from training.elders import CODE_DIM, caption_features


def test_the_elders_learn_from_the_same_latents(script, tmp_path):
    write_config(tmp_path / "config.py", 1e-2, image_size=16, epochs=2)
    encoder = save_text_encoder(tmp_path / "text")
    (tmp_path / "run").mkdir()
    tiny_autoencoder().save(tmp_path / "run" / "autoencoder.keras")
    script("encode_latents", "--data", tmp_path / "mine")
    for name, rest in {"vae_sampler": [], "gan": ["--minutes", "1e-6"]}.items():
        script(f"train_{name}", "--quick", "--text-encoder", tmp_path / "text", *rest)
        generator = keras.saving.load_model(tmp_path / "run" / f"{name}.keras")
        made = generator([normal(0, 1, CODE_DIM).repeat(2, axis=0), caption_features(encoder, CAPTIONS[:2])])
        assert made.shape == (2, 8, 8, 3)
        assert largest_change(made[:1], made[1:]) > 1e-3, name  # of the same code, by their captions
    first, last = losses(tmp_path / "run/vae_sampler/log.csv")
    assert last < 0.9 * first
    assert np.isfinite(losses(tmp_path / "run/gan/log.csv")).all()
