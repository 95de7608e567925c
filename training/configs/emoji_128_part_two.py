"""The second part of the training of `emoji-128`, which goes on from the preset that `emoji_128` makes.

    python -m training.train_autoencoder --config emoji_128_part_two --data DATA --metrics METRICS \\
        --init ONE --output runs/two
    python -m training.encode_latents --config emoji_128_part_two --data DATA --output runs/two
    python -m training.train_latent_diffusion --config emoji_128_part_two --init ONE --output runs/two

ONE is that preset, runs/emoji/preset; for what ships it was that of commit a68c5cb, and the `--seed` of the last
command was 2. The decoder learns to bear small errors in the latents, which changes them, so the U-Net learns on too;
and it learns other words for what it draws.
"""

import json
from pathlib import Path

from training.configs import emoji_128

# What people call the emoji who don't know their labels: up to four descriptions of each, written for training without
# sight of what the benchmark asks; the 22 that said the same as one of its paraphrases were left out.
DESCRIPTIONS = json.loads((Path(__file__).parents[1] / "datasets" / "emoji_descriptions.json").read_text("utf-8"))
NUM_DESCRIPTIONS = 4


def captions(record, rng):
    """Ways to ask for one picture: those of the first part, and its descriptions, the caption in place of missing ones.

    Args:
        record: columns of the row, those of `emoji_128.captions`.
        rng: numpy.random.Generator.

    Returns:
        list of 16 str; training takes one of them at random each time.
    """
    described = [f"{description}, {record['style']}" for description in DESCRIPTIONS.get(record["label"], ())]
    missing = [record["caption"]] * (NUM_DESCRIPTIONS - len(described))
    return emoji_128.captions(record, rng) + described + missing


def get_config(quick=False):
    config = emoji_128.get_config(quick)
    config.__dict__.update(
        captions=captions,
        plain_share=0.6,
        autoencoder={**config.autoencoder, "latent_noise": 0.3},
        autoencoder_learning_rate=3e-4,
        unet={**config.unet, "dropout": 0.05},
        learning_rate=6e-4,
        generate={**config.generate, "sampler": {"name": "dpmpp_2m", "temperature": 0.7}},
    )
    if not quick:
        config.__dict__.update(autoencoder_epochs=2, autoencoder_passes=22, epochs=2, passes=858)  # 9,890 steps each
    return config
