"""Captioned emoji in ten styles, 128 x 128 pixels: the shipped preset `emoji-128`.

    python -m training.train_autoencoder --config emoji_128 --data DATA --metrics METRICS --output runs/emoji
    python -m training.encode_latents --config emoji_128 --data DATA --output runs/emoji
    python -m training.train_latent_diffusion --config emoji_128 --text-encoder MINILM --output runs/emoji

DATA holds the parquet shards, METRICS the weights of LPIPS, MINILM a KerasHub preset of a sentence encoder. Cost and
results of each run are in training/RUNS.md. With KERAS_BACKEND=jax it needs no TensorFlow.
"""

import json
from pathlib import Path
from types import SimpleNamespace

from latentdiff.data.variations import mirrored, paired, recoloured, with_article

# What the benchmark asks for; no training image may show it.
COMPOSITIONS = json.loads((Path(__file__).parents[1] / "datasets" / "emoji_compositions.json").read_text("utf-8"))


def captions(record, rng):
    """Ways to ask for one picture: mostly as it is labelled, else by keywords, in another order, or without style.

    Args:
        record: columns of the row, `label`, `style`, `keywords` and `caption` ("label, style") are used.
        rng: numpy.random.Generator.

    Returns:
        list of 12 str; training takes one of them at random each time.
    """
    label, style, caption = record["label"], record["style"], record["caption"]
    words = [str(word) for word in rng.permutation(list(record["keywords"]))]
    as_labelled = [
        caption,
        caption,
        caption,
        f"{with_article(label)}, {style}",
        f"{with_article(label)}, {style}",
        f"{style} {label}",
        label,
    ]
    by_keywords = (
        [
            f"{words[0]}, {style}",
            f"{' '.join(words[:2])}, {style}",
            f"{' '.join(words[:3])}, {style}",
            f"{label}, {words[0]}, {style}",
            f"{words[-1]} {label}, {style}",
        ]
        if words
        else [caption] * 5
    )
    return as_labelled + by_keywords


def get_config(quick=False):
    config = SimpleNamespace(
        image_size=128,
        split="train",
        validation_split="validation",
        captions=captions,
        # What latents are made of: each picture, and variations of it that their captions tell.
        variations=(mirrored, recoloured, recoloured, paired, paired, paired, paired),
        kept_out=[row["things"] for row in COMPOSITIONS],  # what the benchmark asks for and no picture shows
        plain_share=0.5,  # of the batches; the variations share the rest
        seed=0,
        dtype="mixed_bfloat16",
        # The autoencoder: 128 x 128 x 3 -> 16 x 16 x 8.
        autoencoder=dict(
            latent_channels=8,
            widths=(96, 128, 128),
            num_blocks=1,
            patch_size=2,
            groups=16,
            kl_weight=1e-3,
            perceptual_weight=0.5,
        ),
        autoencoder_batch_size=64,
        autoencoder_epochs=10,
        autoencoder_passes=10,  # an epoch goes through the pictures so many times
        autoencoder_learning_rate=5e-4,
        autoencoder_ema=0.999,
        flip=True,
        # The U-Net.
        unet=dict(
            widths=(192, 256),
            num_blocks=2,
            attention_levels=(0, 1),
            num_heads=8,
            activation="gelu_tanh",
            expansion=1,
            pool_context=True,
            dropout=0.1,
        ),
        sequence_length=32,
        separator=None,  # "," would encode what is shown apart from its style, see `TextEncoder`
        noise_schedule=dict(kind="cosine"),
        prediction_type="velocity",
        context_dropout=0.1,
        min_snr_gamma=None,
        batch_size=1024,
        steps_per_execution=10,
        epochs=4,
        passes=570,  # 6,570 steps an epoch
        learning_rate=8e-4,
        ema=0.9995,
        # How to use the result.
        generate=dict(sampler="dpmpp_2m", num_steps=12, guidance_scale=3.0),
        preview_prompts=("red apple, 3d", "cat face, flat", "rocket, twemoji", "grinning face, noto"),
    )
    if quick:
        config.__dict__.update(
            image_size=32,
            dtype="float32",
            autoencoder={**config.autoencoder, "latent_channels": 4, "widths": (32, 32), "groups": 8},
            autoencoder_batch_size=8,
            autoencoder_epochs=1,
            autoencoder_passes=1,
            unet={**config.unet, "widths": (32, 32), "num_blocks": 1, "num_heads": 2, "groups": 8},
            batch_size=8,
            steps_per_execution=1,
            epochs=1,
            passes=1,
        )
    return config
