"""A VAE, a GAN and diffusion on latents of the same images, for two minutes each: lesson 9 of the course.

Command (runs/baselines holds the autoencoder.keras of run ae-2; MINILM is a KerasHub text preset):

    FILE=training/experiments/baselines.py
    latentdiff train latents --experiment $FILE --data DATA --output runs/baselines
    python -m training.train_baseline vae --experiment $FILE --text-encoder MINILM --minutes 2 --output runs/baselines
    python -m training.train_baseline gan --experiment $FILE --text-encoder MINILM --minutes 2 --output runs/baselines
    latentdiff train diffusion --experiment $FILE --text-encoder MINILM --minutes 2 --output runs/baselines

With more than one GPU CUDA_VISIBLE_DEVICES=0 keeps each command to one. benchmarks/baselines.py compares the three.

Cost: two minutes each on one H200: 19,560 steps of 256 (VAE), 11,490 (GAN), 2,530 (U-Net).
Result: run baselines-5, KID x 1000 168 (VAE), 328 (GAN), 40 (diffusion); docs/course/9-baselines.md has the rest.
"""

from pathlib import Path

from latentdiff.recipes.experiments import load_experiment


def get_experiment(quick=False):
    experiment = load_experiment(Path(__file__).with_name("emoji_128.py"), quick)
    # The VAE and the GAN know no variations.
    experiment = experiment.replace(variations=(), validation_split=None, preview_prompts=(), ema=0.998)
    return experiment if quick else experiment.replace(batch_size=256, learning_rate=4e-4)
