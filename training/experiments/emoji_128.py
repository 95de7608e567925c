"""Captioned emoji in ten styles, 128 x 128 pixels: part one of the shipped preset `emoji-128`.

Command (DATA: the parquet shards; METRICS: a folder with the weights of LPIPS; MINILM: a KerasHub text preset):

    FILE=training/experiments/emoji_128.py
    latentdiff train autoencoder --experiment $FILE --data DATA --metrics METRICS --output runs/emoji
    latentdiff train latents     --experiment $FILE --data DATA --output runs/emoji
    latentdiff train diffusion   --experiment $FILE --text-encoder MINILM --output runs/emoji

Cost: autoencoder 6 minutes on one H100 (18,440 steps), U-Net 17 minutes on four (26,280 steps of 1,024, 36 ms each).
Result: run ae-1, 35.6 dB median PSNR on 400 validation images; run ld-5, joint retrieval 0.390 on 400 unseen pairs
and 0.830 on 1,000 training captions, KID x 1000 9.9 and 5.3. README.md beside this file has all runs.
"""

import json
from pathlib import Path

from latentdiff.data.variations import mirrored, paired, recoloured, with_article
from latentdiff.models.sizes import SIZES
from latentdiff.recipes.experiment import Experiment

# The benchmark prompts for these; no training image may show them.
COMPOSITIONS = json.loads((Path(__file__).parents[1] / "datasets" / "emoji_compositions.json").read_text("utf-8"))

# 128 x 128 x 3 -> 16 x 16 x 8.
AUTOENCODER = {
    "latent_channels": 8,
    "widths": (96, 128, 128),
    "num_blocks": 1,
    "patch_size": 2,
    "groups": 16,
    "kl_weight": 1e-3,
    "perceptual_weight": 0.5,
}


def captions(record, rng):
    """Captions of one image: mostly its label, else keywords, another order, or no style.

    Args:
        record: columns of the row, `label`, `style`, `keywords` and `caption` ("label, style") are used.
        rng: numpy.random.Generator.

    Returns:
        list of 12 str; training draws one of them each time.
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


def get_experiment(quick=False):
    experiment = Experiment(
        image_size=128,
        split="train",
        validation_split="validation",
        captions=captions,
        variations=(mirrored, recoloured, recoloured, paired, paired, paired, paired),
        kept_out=[row["things"] for row in COMPOSITIONS],
        plain_share=0.5,
        flip=True,
        seed=0,
        dtype="mixed_bfloat16",
        # Autoencoder.
        autoencoder=AUTOENCODER,
        autoencoder_batch_size=64,
        autoencoder_epochs=10,
        autoencoder_passes=10,
        autoencoder_learning_rate=5e-4,
        autoencoder_ema=0.999,
        # U-Net.
        network={**SIZES["emoji-128"], "dropout": 0.1},
        noise_schedule=dict(kind="cosine"),
        prediction_type="velocity",
        context_dropout=0.1,
        min_snr_gamma=None,
        sequence_length=32,
        batch_size=1024,
        epochs=4,
        passes=570,  # 6,570 steps an epoch
        learning_rate=8e-4,
        ema=0.9995,
        steps_per_execution=10,
        # Preset.
        generate=dict(sampler="dpmpp_2m", num_steps=12, guidance_scale=3.0),
        preview_prompts=("red apple, 3d", "cat face, flat", "rocket, twemoji", "grinning face, noto"),
    )
    return small(experiment) if quick else experiment


def small(experiment):
    """The experiment for a trial on a CPU: small images, small networks, one epoch."""
    return experiment.replace(
        image_size=32,
        dtype="float32",
        autoencoder={**experiment.autoencoder, "latent_channels": 4, "widths": (32, 32), "groups": 8},
        autoencoder_batch_size=8,
        autoencoder_epochs=1,
        autoencoder_passes=1,
        network={**experiment.network, "widths": (32, 32), "num_blocks": 1, "num_heads": 2, "groups": 8},
        batch_size=8,
        steps_per_execution=1,
        epochs=1,
        passes=1,
    )
