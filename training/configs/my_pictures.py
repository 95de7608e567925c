"""A folder of your own captioned pictures, a few hundred or more: both stages start from the shipped preset.

    python -m training.train_autoencoder --config my_pictures --data FOLDER --init emoji-128 --output runs/mine
    python -m training.encode_latents --config my_pictures --data FOLDER --output runs/mine
    python -m training.train_latent_diffusion --config my_pictures --init emoji-128 --output runs/mine
    latentdiff generate "a caption like yours" --preset runs/mine/preset

Add --quick to each of the first three to see in a few minutes that everything works; a GPU makes the real run one
of minutes. Copy this file and pass its path as --config to change anything.
"""

from training.configs import emoji_128


def captions(record, rng):
    """Each picture has one caption."""
    return [record["caption"]]


def get_config(quick=False):
    # Starting from a preset keeps its networks, so the sizes stay those of the shipped one, --quick or not.
    config = emoji_128.get_config()
    config.__dict__.update(
        split=None,
        validation_split=None,
        captions=captions,
        dtype="float32",
        autoencoder_batch_size=16,
        autoencoder_epochs=5,
        autoencoder_passes=10,
        autoencoder_learning_rate=1e-4,
        batch_size=32,
        steps_per_execution=1,
        variations=(),
        kept_out=(),
        epochs=10,
        passes=50,
        learning_rate=1e-4,
        ema=0.999,
        preview_prompts=None,  # the first captions
    )
    if quick:
        config.__dict__.update(autoencoder_epochs=1, autoencoder_passes=1, batch_size=8, epochs=1, passes=1)
    return config
