"""Ten minutes of training on emoji latents with the U-Net of the shipped preset, beside a DiT of the same cost.

Command (`networks_dit.py` is the other side; the autoencoder is that of the shipped preset):

    FILE=training/experiments/networks_unet.py
    latentdiff train latents   --experiment $FILE --data DATA --output runs/unet
    latentdiff train diffusion --experiment $FILE --text-encoder MINILM --minutes 10 --output runs/unet
    python benchmarks/quality.py runs/unet/preset --data DATA --metrics METRICS --output out/unet

Cost: 10 minutes of `fit` on one H200, at least 10,610 steps of 512, 54 to 56 ms each with the text encoder.
Result: joint retrieval 0.295 on 400 unseen pairs and 0.709 on 1,000 training captions, KID x 1000 11.7 and 8.1. The
record is runs/networks-1.md.
"""

from training.experiments import emoji_128


def get_experiment(quick=False):
    experiment = emoji_128.get_experiment(quick)
    changes = {"variations": (), "validation_split": None, "preview_prompts": (), "ema": 0.999}
    changes["network"] = {**experiment.network, "dropout": 0.0}  # the DiT has none
    return experiment.replace(**changes, **({} if quick else {"batch_size": 512, "learning_rate": 4e-4}))
