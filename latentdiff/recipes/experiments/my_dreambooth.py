"""The whole network of the shipped preset, trained on about twenty images of a new thing without forgetting its kind.

    latentdiff train latents   --experiment my_dreambooth --data FOLDER --init emoji-128 --output runs/mine
    latentdiff train diffusion --experiment my_dreambooth --init emoji-128 --output runs/mine --prior-prompt "a cat"
    latentdiff generate "a caption like yours" --preset runs/mine/preset

The prompt of --prior-prompt names the kind. With --lora-rank N an adapter is trained in place of the network. To change
anything, copy this file and pass its path as --experiment; docs/adapt.md has costs and results.
"""

from latentdiff.recipes.experiment import Experiment


def get_experiment(quick=False):
    experiment = Experiment(
        batch_size=10,  # and as many images that the preset made
        epochs=2,
        passes=25,
        learning_rate=5e-5,
        ema=0.95,
        preview_prompts=None,  # the first captions
    )
    return experiment.replace(epochs=1, passes=1) if quick else experiment
