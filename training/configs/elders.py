"""A VAE, a GAN and diffusion on latents of the same pictures, for two minutes each: lesson 9 of the course.

    python -m training.encode_latents --config elders --data DATA --output runs/elders
    python -m training.train_vae_sampler --config elders --text-encoder MINILM --minutes 2 --output runs/elders
    python -m training.train_gan --config elders --text-encoder MINILM --minutes 2 --output runs/elders
    python -m training.train_latent_diffusion --config elders --text-encoder MINILM --minutes 2 --output runs/elders

runs/elders holds the autoencoder.keras of `emoji_128`; for the lesson it was that of ae-2, see training/RUNS.md. With
more than one GPU CUDA_VISIBLE_DEVICES=0 keeps each script to one. benchmarks/elders.py compares the three.
"""

from training.configs import emoji_128


def get_config(quick=False):
    config = emoji_128.get_config(quick)
    # The pictures as they are: the VAE and the GAN know no variations.
    config.__dict__.update(variations=(), validation_split=None, preview_prompts=(), ema=0.998)
    if not quick:
        config.__dict__.update(batch_size=256, learning_rate=4e-4)
    return config
