"""A new word (textual inversion) for the shipped preset, from about twenty images whose captions have it.

    latentdiff train latents   --experiment my_word --data FOLDER --init emoji-128 --output runs/mine
    latentdiff train diffusion --experiment my_word --init emoji-128 --output runs/mine --word "<mine>" --word-vectors 4
    latentdiff generate "<mine>, flat" --textual-inversion runs/mine/textual_inversion.safetensors

To change anything, copy this file and pass its path as --experiment; docs/adapt.md has costs and results.
"""

from latentdiff.recipes.experiment import Experiment


def get_experiment(quick=False):
    experiment = Experiment(
        batch_size=10,
        epochs=4,
        passes=25,
        learning_rate=1e-2,
        ema=0.95,
        context_dropout=0.0,  # the empty caption has no word to learn
        preview_prompts=None,  # the first captions
    )
    return experiment.replace(epochs=1, passes=1) if quick else experiment
