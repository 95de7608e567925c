"""An adapter (LoRA) for the shipped preset, from about twenty captioned images of one new thing or style.

    latentdiff train latents   --experiment my_lora --data FOLDER --init emoji-128 --output runs/mine
    latentdiff train diffusion --experiment my_lora --init emoji-128 --output runs/mine
    latentdiff generate "a caption like yours" --lora runs/mine/lora.safetensors

To change anything, copy this file and pass its path as --experiment; docs/lora.md has costs and results.
"""

from latentdiff.recipes.experiment import Experiment


def get_experiment(quick=False):
    experiment = Experiment(
        lora={"rank": 8, "targets": ("linear", "convolution")},
        batch_size=10,
        epochs=5,
        passes=25,
        learning_rate=1e-3,
        ema=0.98,
        preview_prompts=None,  # the first captions
    )
    return experiment.replace(epochs=1, passes=1) if quick else experiment
