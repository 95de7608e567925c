"""A folder of your own captioned images, a few hundred or more: both stages start from the shipped preset.

    latentdiff train autoencoder --experiment my_pictures --data FOLDER --init emoji-128 --output runs/mine
    latentdiff train latents     --experiment my_pictures --data FOLDER --output runs/mine
    latentdiff train diffusion   --experiment my_pictures --init emoji-128 --output runs/mine
    latentdiff generate "a caption like yours" --preset runs/mine/preset

Add --quick to each of the first three for a trial of minutes. Cost: about six minutes on one H200 with 213 images.
To change anything, copy this file and pass its path as --experiment. `latentdiff.recipes.experiment` lists all fields.
"""

from latentdiff.recipes.experiment import Experiment


def get_experiment(quick=False):
    # The networks are those of the preset that the run starts from, with --quick too.
    experiment = Experiment(
        image_size=128,
        # Autoencoder.
        autoencoder_batch_size=16,
        autoencoder_epochs=5,
        autoencoder_passes=10,
        autoencoder_learning_rate=1e-4,
        # Diffusion.
        variations=(),  # of latentdiff.data.variations: (mirrored, recoloured, restyled, paired)
        batch_size=32,
        epochs=10,
        passes=50,
        learning_rate=1e-4,
        preview_prompts=None,  # the first captions
    )
    if quick:
        return experiment.replace(autoencoder_epochs=1, autoencoder_passes=1, batch_size=8, epochs=1, passes=1)
    return experiment
