"""A tiny configuration, and what belongs to it, for tests that run the training scripts."""

import csv

from harness import tiny_text_encoder

CAPTIONS = ["a red apple", "a green cat", "the blue rocket", "a small cat"]
CONFIG = """
from training.configs import my_pictures

def get_config(quick=False):
    config = my_pictures.get_config(quick)
    sizes = dict(widths=(8,), num_blocks=1, groups=4)
    config.__dict__.update(
        image_size=8,
        flip=False,
        autoencoder=dict(
            latent_channels=3, patch_size=2, middle_attention=False, perceptual_weight=0.0, latent_noise=0.25, **sizes
        ),
        unet=dict(attention_levels=(), num_heads=2, pool_context=True, **sizes),
        noise_schedule=dict(kind="scaled_linear"),
        sequence_length=8,
        autoencoder_learning_rate=RATE,
        learning_rate=RATE,
        autoencoder_epochs=3,
        autoencoder_passes=5,
        epochs=3,
        passes=15,
        ema=0.5,
        preview_prompts=(),
        generate=dict(num_steps=3, guidance_scale=2.0),
    )
    config.__dict__.update(CHANGES)
    return config
"""


def write_config(path, learning_rate, **changes):
    path.write_text(CONFIG.replace("RATE", str(learning_rate)).replace("CHANGES", repr(changes)))


def save_text_encoder(folder):
    encoder = tiny_text_encoder()
    encoder.backbone.save_to_preset(folder)
    encoder.tokenizer.save_to_preset(folder)
    return encoder


def losses(log):
    with open(log, newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]
