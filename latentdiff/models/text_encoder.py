"""The text encoder: prompts to text features, by any KerasHub backbone."""

import keras
from keras import ops

from latentdiff.diffusion import conditioning as trees
from latentdiff.models import dtypes
from latentdiff.models.quantized import from_quantized_config, quantization_config
from latentdiff.models.text_backbone import sequence_model
from latentdiff.models.token_rows import TokenRows
from latentdiff.models.words import Words
from latentdiff.settings.request import check_count


@keras.saving.register_keras_serializable(package="latentdiff")
class TextEncoder(TokenRows, keras.Model):
    """Turns prompts into text features that the network attends to.

    Args:
        backbone: a KerasHub text backbone that gives one vector a token: BERT and its relatives, the text encoder of
            CLIP, T5 (whose encoder half is used); or a `ClipPair`.
        tokenizer: the KerasHub tokenizer that belongs to it.
        sequence_length: tokens of a prompt, those that mark its start and end included. Shorter prompts are padded,
            and the padding is masked wherever it could be seen; longer ones are cut, with a warning.
        max_chunks: longest prompt, in chunks of `sequence_length` tokens. Each chunk has marks of its own and is
            encoded apart; their features follow each other. A chunk that a prompt does not need is masked like padding.
        trainable: whether `fit` of a model that contains it changes it.
        separator_id: optional id of a token, such as `tokenizer.token_to_id(",")`. What stands behind its last place in
            a prompt and what stands in front are then encoded apart: "3d" has the same features in "red apple, 3d" and
            in "cat, 3d", and so has "cat" in "cat, 3d" and "cat, flat". A model that learns from such captions can
            join parts that it never saw together.
        mask_padding: False shows the padding to the network, as in Stable Diffusion, which was trained that way.
        clip_skip: last layers of a `CLIPTextEncoder` to leave out. diffusers counts alike; other programs call the
            output of the last layer 1.
        zero_empty: True gives zeros in place of the features of the empty prompt, as in Stable Diffusion XL, which was
            trained that way.
        dtype: dtype policy. That of the backbone counts for its layers: it is kept in files where it was another one
            than the global policy.

    Call arguments:
        token_ids: int32 (batch, tokens), from `tokenize`; of several chunks, a multiple of `sequence_length` tokens.

    Returns:
        float32 (batch, tokens, dim), the context. Places where `mask(token_ids)` is False mean nothing.

    Raises:
        ValueError: a backbone without features for each token, or one built for fewer tokens; `max_chunks` that is no
            whole number of at least 1; `separator_id` with one that takes no padding mask, like that of CLIP;
            `clip_skip` with another one than that of CLIP.
    """

    # Members of the conditioning with one vector a token, on which the weights of a prompt's words act.
    token_features = ("context",)

    def __init__(
        self,
        backbone,
        tokenizer,
        sequence_length=32,
        trainable=False,
        separator_id=None,
        mask_padding=True,
        clip_skip=0,
        zero_empty=False,
        max_chunks=1,
        dtype=None,
        name="text_encoder",
        **kwargs,
    ):
        super().__init__(name=name, dtype=dtype, **kwargs)
        _check_length(backbone, sequence_length)
        self.backbone = backbone
        self.tokenizer = tokenizer
        self._given_dtype = dtypes.given(dtype)
        self._backbone_follows = backbone.dtype_policy.name == keras.config.dtype_policy().name
        tokenizer.built = True  # it has no weights; until it is called Keras would think that something is missing
        self.sequence_length = sequence_length
        self.separator_id = separator_id
        self.mask_padding = mask_padding
        self.clip_skip = clip_skip
        self.zero_empty = zero_empty
        self.max_chunks = check_count("max_chunks", max_chunks)
        self.sequence_model = sequence_model(backbone, clip_skip)
        self.context_dim = self.sequence_model.output["context"].shape[-1]
        _check_separator(separator_id, self.sequence_model.input)
        self.trainable = trainable
        self.word_layers = []
        self.words = Words(self)
        self.built = True

    def call(self, token_ids, training=False):
        return self._features(token_ids, training)["context"]

    def _features(self, token_ids, training):
        """The members of the conditioning with features: a dict of float32 tensors."""
        # A frozen encoder gives the same features while the rest trains: no dropout.
        training = training and self.trainable
        if self._is_one_chunk(token_ids):
            return self._encode_chunk(token_ids, training)
        batch = ops.shape(token_ids)[0]
        features = self._encode_chunk(self._chunks(token_ids), training)  # of all chunks of all rows
        first = {name: ops.reshape(member, (batch, -1, member.shape[-1]))[:, 0] for name, member in features.items()}
        return {**first, "context": ops.reshape(features["context"], (batch, -1, self.context_dim))}

    def _encode_chunk(self, token_ids, training):
        mask = self._chunk_mask(token_ids)
        if self.separator_id is None:
            return self._run(token_ids, mask, training)
        behind = self._behind_separator(token_ids)
        masks = [ops.logical_and(mask, part) for part in (ops.logical_not(behind), behind)]
        features = self._run(ops.concatenate([token_ids] * 2), ops.concatenate(masks), training)
        in_front, in_back = ops.split(features["context"], 2)
        return {"context": ops.where(behind[..., None], in_back, in_front)}

    def _run(self, token_ids, seen, training):
        """What the backbone makes of token ids, where only tokens are looked at that are `seen`, bool (b, tokens)."""
        values = {
            "token_ids": token_ids,
            "padding_mask": ops.cast(seen, "int32"),
            "segment_ids": ops.zeros_like(token_ids),
        }
        inputs = {name: values[name.removeprefix("encoder_")] for name in self.sequence_model.input}
        features = self.sequence_model(inputs, training=training)
        features = {name: ops.cast(values, "float32") for name, values in features.items()}
        return trees.where(self._is_empty(token_ids), _zeros(features), features) if self.zero_empty else features

    def _is_empty(self, token_ids):
        """Rows that hold nothing but marks and padding: bool (batch,)."""
        num_marks = self.sequence_length - self._room
        return ops.sum(ops.cast(self._is_text(token_ids), "int32"), axis=1) <= num_marks

    def _behind_separator(self, token_ids):
        """True behind the last separator of each row, everywhere in a row without one: bool (batch, tokens)."""
        separators = ops.cast(ops.equal(token_ids, self.separator_id), "int32")
        in_front = ops.cumsum(separators, axis=1) - separators
        return ops.equal(in_front, ops.sum(separators, axis=1, keepdims=True))

    def condition(self, token_ids, training=False):
        """What the network is conditioned on.

        Args:
            token_ids: int32 (batch, tokens), from `tokenize`.

        Returns:
            dict of `context`, float32 (batch, tokens, dim), and `context_mask`, bool (batch, tokens); with a backbone
            such as `ClipPair` also of `pooled_context`, float32 (batch, dim).
        """
        token_ids = ops.convert_to_tensor(token_ids)
        return {**self._features(token_ids, training), "context_mask": self.mask(token_ids)}

    def conditioning_spec(self, num_tokens=None):
        """`keras.InputSpec`s of what `condition` returns, by name, for any batch of so many tokens."""
        num_tokens = self.num_tokens if num_tokens is None else num_tokens
        shapes = {name: tensor.shape for name, tensor in self.sequence_model.output.items()}
        shapes["context"] = (None, num_tokens, self.context_dim)
        specs = {name: keras.InputSpec("float32", shape) for name, shape in shapes.items()}
        return {**specs, "context_mask": keras.InputSpec("bool", (None, num_tokens))}

    def encode(self, prompts):
        """Text features of prompts.

        Returns:
            context float32 (batch, tokens, dim) and context_mask bool (batch, tokens).
        """
        token_ids = ops.convert_to_tensor(self.tokenize(prompts))
        return self(token_ids), self.mask(token_ids)

    def export(self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs):
        """As `keras.Model.export`; by default for token ids of any batch."""
        input_signature = input_signature or [keras.InputSpec("int32", (None, self.num_tokens))]
        return super().export(filepath, format, verbose, input_signature, **kwargs)

    def get_config(self):
        backbone = keras.saving.serialize_keras_object(self.backbone)
        if self._backbone_follows:
            backbone["config"].pop("dtype", None)  # like every other part it takes the policy of the day
        return {
            "backbone": backbone,
            "tokenizer": keras.saving.serialize_keras_object(self.tokenizer),
            "sequence_length": self.sequence_length,
            "trainable": self.trainable,
            "separator_id": self.separator_id,
            "mask_padding": self.mask_padding,
            "clip_skip": self.clip_skip,
            "zero_empty": self.zero_empty,
            "max_chunks": self.max_chunks,
            "name": self.name,
            **self._given_dtype,
            **quantization_config(self.backbone),
            **({"words": [word.get_config() for word in self.word_layers]} if self.word_layers else {}),
        }

    @classmethod
    def from_config(cls, config):
        parts = {name: keras.saving.deserialize_keras_object(config[name]) for name in ("backbone", "tokenizer")}
        words = config.get("words", [])
        config = {name: value for name, value in config.items() if name != "words"}
        encoder = from_quantized_config(cls, {**config, **parts})
        for word in words:
            encoder.words.restore(word)
        return encoder


def _check_length(backbone, sequence_length):
    longest = getattr(backbone, "max_sequence_length", None)
    if sequence_length < 3 or (longest and sequence_length > longest):
        raise ValueError(
            f"`sequence_length` must be between 3 and what the backbone was built for ({longest}). "
            f"Received: {sequence_length=}"
        )


def _check_separator(separator_id, inputs):
    if separator_id is not None and not any(name.endswith("padding_mask") for name in inputs):
        raise ValueError(
            "`separator_id` needs a backbone that takes a padding mask. "
            f"Received: {separator_id=}, a backbone with inputs {sorted(inputs)}"
        )


def _zeros(features):
    return keras.tree.map_structure(ops.zeros_like, features)
