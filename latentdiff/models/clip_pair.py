"""The two text encoders of Stable Diffusion XL as one backbone."""

import keras
from keras import ops

from latentdiff.models import dtypes


@keras.saving.register_keras_serializable(package="latentdiff")
class ClipPair(keras.Model):
    """Two text encoders of CLIP that read the same tokens, a backbone of `TextEncoder`.

    Both give their features of each token in front of the last layers, without the normalization at the end. The second
    also gives one vector of the whole text: the output of its last layer at the end mark, normalized and projected.

    Args:
        first, second: dicts of arguments of KerasHub's `CLIPTextEncoder`.
        projection_dim: width of the vector of the whole text.
        skipped_layers: last layers that the features of the tokens do not pass.
        second_pad_id: token that fills short prompts for the second; the first takes them as they come.

    Call arguments (a dict):
        token_ids: int32 (batch, tokens). The end mark must be the largest id of the vocabulary, as in CLIP.

    Returns:
        dict of `sequence_output`, float (batch, tokens, width of the first + width of the second), and
        `projection_output`, float (batch, projection_dim).

    Raises:
        ValueError: as many `skipped_layers` as a text encoder has, or more.

    Reference: Podell et al., SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis, 2023,
    arXiv:2307.01952, section 2.1.
    """

    def __init__(
        self, first, second, projection_dim, skipped_layers=1, second_pad_id=0, dtype=None, name="clip_pair", **kwargs
    ):
        import keras_hub

        least = min(first["num_layers"], second["num_layers"])
        if not 0 <= skipped_layers < least:
            raise ValueError(f"`skipped_layers` must lie in [0, {least - 1}]. Received: {skipped_layers=}")
        # === Layers ===
        clips = [
            keras_hub.models.CLIPTextEncoder(**arguments, dtype=dtype, name=place)
            for place, arguments in (("first", first), ("second", second))
        ]
        projection = keras.layers.Dense(projection_dim, use_bias=False, dtype=dtype, name="projection")
        # === Functional Model ===
        token_ids = keras.Input((None,), dtype="int32", name="token_ids")
        ends = ops.cast(ops.equal(token_ids, ops.max(token_ids, axis=1, keepdims=True)), "int32")
        behind = ops.cumsum(ends, axis=1) - ends > 0  # (b, tokens), the padding
        first_end = ops.cast(ops.logical_and(ends > 0, ops.logical_not(behind)), clips[1].compute_dtype)
        outputs = _outputs(clips[0], token_ids)
        second_outputs = _outputs(clips[1], ops.where(behind, second_pad_id, token_ids))
        features = keras.layers.Concatenate(dtype=dtype, name="features")(
            [each[-1 - skipped_layers] for each in (outputs, second_outputs)]
        )  # (b, tokens, widths of both)
        whole = ops.sum(clips[1].layer_norm(second_outputs[-1]) * first_end[..., None], axis=1)  # (b, second width)
        super().__init__(
            {"token_ids": token_ids},
            {"sequence_output": features, "projection_output": projection(whole)},
            name=name,
            **kwargs,
        )
        # === Config ===
        self.first, self.second = clips
        self.projection = projection
        self.skipped_layers = skipped_layers
        self.second_pad_id = second_pad_id
        self.vocabulary_size = self.first.vocabulary_size
        self.max_sequence_length = min(clip.max_sequence_length for clip in clips)
        self.dtype_policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        self._config = {"first": dict(first), "second": dict(second), "projection_dim": projection_dim}
        self._config |= {"skipped_layers": skipped_layers, "second_pad_id": second_pad_id, **dtypes.given(dtype)}

    def get_config(self):
        return {**self._config, "name": self.name, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _outputs(clip, token_ids):
    """The outputs of all layers of a `CLIPTextEncoder`, each (batch, tokens, width)."""
    outputs = [clip.embedding(token_ids)]
    for layer in clip.encoder_layers:
        outputs.append(layer(outputs[-1]))
    return outputs
