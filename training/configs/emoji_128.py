"""Captioned emoji in ten styles, 128 x 128 pixels: the shipped preset `emoji-128`.

    python -m training.train_autoencoder --config emoji_128 --data DATA --metrics METRICS --output runs/emoji
    python -m training.encode_latents --config emoji_128 --data DATA --output runs/emoji
    python -m training.train_latent_diffusion --config emoji_128 --text-encoder MINILM --output runs/emoji

DATA holds the parquet shards, METRICS the weights of LPIPS, MINILM a KerasHub preset of a sentence encoder. Cost and
results of each run are in training/RUNS.md. With KERAS_BACKEND=jax it needs no TensorFlow.
"""

from types import SimpleNamespace


def captions(record, caption, rng):
    """Ways to ask for one picture: mostly as it is labelled, else by keywords, in another order, or without style.

    Args:
        record: columns of the row, `label`, `style` and `keywords` are used.
        caption: the caption of the row, "label, style".
        rng: numpy.random.Generator.

    Returns:
        list of 8 str; training takes one of them at random each time.
    """
    label, style = record["label"], record["style"]
    words = [str(word) for word in rng.permutation(list(record["keywords"]) or [label])]
    return [
        caption,
        caption,
        caption,
        f"{style} {label}",
        label,
        f"{' '.join(words[:2])}, {style}",
        f"{label}, {words[0]}, {style}",
        f"{words[-1]} {label}, {style}",
    ]


def get_config(quick=False):
    config = SimpleNamespace(
        image_size=128,
        split="train",
        validation_split="validation",
        captions=captions,
        mirrored=False,
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
            dropout=0.05,
        ),
        sequence_length=32,
        noise_schedule=dict(kind="cosine"),
        prediction_type="velocity",
        context_dropout=0.1,
        min_snr_gamma=None,
        batch_size=256,
        steps_per_execution=10,
        epochs=4,
        passes=131,  # 6,040 steps an epoch
        learning_rate=4e-4,
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
