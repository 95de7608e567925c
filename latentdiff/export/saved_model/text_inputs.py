"""The two ways to hand a text to a served model: as a prompt, or as token ids."""

from latentdiff.export.saved_model import request_bounds as bounds
from latentdiff.export.saved_model.graph_tokenizer import graph_tokenizer


class Prompts:
    """Texts as strings. The tokenizer is part of the graph; KerasHub's need TF Text's operators.

    Args:
        text_encoder: a `TextEncoder`.
    """

    name = "prompts"

    def __init__(self, text_encoder):
        self.text_encoder = text_encoder
        self.shape, self.dtype, self.empty = (), "string", [""]
        self.resources = [text_encoder.tokenizer]  # what must be saved with the graph: its tables, if it has any
        self._tokenize = graph_tokenizer(text_encoder)

    def token_ids(self, texts, name, warnings):
        """int32 (batch, tokens) of string (batch,); what can't be used is bounded, with a warning."""
        import tensorflow as tf

        token_ids, lost = self._tokenize(bounds.bound_text(texts, name, warnings))
        warnings.add(lost > 0, tf.strings.join([f"`{name}` was cut by ", tf.strings.as_string(lost), " tokens."]))
        return token_ids


class TokenIds:
    """Texts as token ids, from a tokenizer at the client.

    Args:
        text_encoder: a `TextEncoder`.
    """

    name = "token_ids"

    def __init__(self, text_encoder):
        self.text_encoder = text_encoder
        self.shape, self.dtype = (text_encoder.num_tokens,), "int32"
        self.empty = text_encoder.tokenize([""])
        self.resources = []

    def token_ids(self, texts, name, warnings):
        """`texts`, int32 (batch, tokens), bounded to the vocabulary and the new words, with a warning."""
        new_ids = sum(map(len, self.text_encoder.words.ids.values()))
        vocabulary_size = self.text_encoder.backbone.vocabulary_size + new_ids
        return bounds.bound_token_ids(texts, vocabulary_size, name, warnings)
