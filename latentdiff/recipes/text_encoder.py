"""The text encoder of a run, from a KerasHub preset."""

from latentdiff.models.text_encoder import TextEncoder


def load_text_encoder(preset, experiment):
    """The text encoder of a KerasHub preset, with the length, separator and dtype of an experiment.

    Args:
        preset: folder or name of a text preset of KerasHub.
        experiment: `Experiment`.
    """
    import keras_hub  # slow, and not every stage needs it

    backbone = keras_hub.models.Backbone.from_preset(preset, dtype=experiment.dtype)
    tokenizer = keras_hub.models.Tokenizer.from_preset(preset)
    separator_id = None if experiment.separator is None else int(tokenizer.token_to_id(experiment.separator))
    return TextEncoder(backbone, tokenizer, experiment.sequence_length, separator_id=separator_id)
