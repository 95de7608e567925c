"""Where the training of adapters and words, and distillation, start: at a preset, with what belongs to it frozen in."""

from latentdiff.models.latent_diffusion import LatentDiffusion
from latentdiff.models.networks import with_any_size
from latentdiff.pipelines.text_to_image import TextToImage
from latentdiff.presets.preset import load_preset


def start_pipeline(experiment, init):
    """The pipeline of a preset, with its adapters merged, and the seed and dropout of the experiment."""
    start, settings = load_preset(init)
    start.lora.merge()  # adapters that belong to the preset
    freeze_words(start.text_encoder)
    model = LatentDiffusion(
        start.autoencoder,
        start.text_encoder,
        start.network if experiment.bucket_step is None else with_any_size(start.network),
        start.noise_schedule,
        prediction_type=start.prediction_type,
        context_dropout=experiment.context_dropout,
        min_snr_gamma=start.min_snr_gamma,
        objective=start.objective,
        seed=experiment.seed,
    )
    return TextToImage(model, **settings)


def freeze_words(text_encoder):
    """Leaves the words that belong to a preset as they are."""
    for word in text_encoder.word_layers:
        word.trainable = False
