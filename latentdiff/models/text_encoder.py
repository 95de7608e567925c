"""The text encoder: prompts to text features, by any KerasHub backbone."""

import warnings

import keras
import numpy as np
from keras import ops

from latentdiff.models import dtypes
from latentdiff.models.quantized import from_quantized_config, quantization_config
from latentdiff.models.text_backbone import sequence_model
from latentdiff.models.tokenizers import special_id
from latentdiff.models.words import Words
from latentdiff.settings.texts import as_rows


@keras.saving.register_keras_serializable(package="latentdiff")
class TextEncoder(keras.Model):
    """Turns prompts into text features that the network attends to.

    Args:
        backbone: a KerasHub text backbone that gives one vector a token: BERT and its relatives, the text encoder of
            CLIP, T5 (whose encoder half is used).
        tokenizer: the KerasHub tokenizer that belongs to it.
        sequence_length: tokens of a prompt, those that mark its start and end included. Shorter prompts are padded,
            and the padding is masked wherever it could be seen; longer ones are cut, with a warning.
        trainable: whether `fit` of a model that contains it changes it.
        separator_id: optional id of a token, such as `tokenizer.token_to_id(",")`. What stands behind its last place in
            a prompt and what stands in front are then encoded apart: "3d" has the same features in "red apple, 3d" and
            in "cat, 3d", and so has "cat" in "cat, 3d" and "cat, flat". A model that learns from such captions can
            join parts that it never saw together.
        mask_padding: False shows the padding to the network, as in Stable Diffusion, which was trained that way.
        clip_skip: last layers of a `CLIPTextEncoder` to leave out. diffusers counts alike; other programs call the
            output of the last layer 1.
        dtype: dtype policy. That of the backbone counts for its layers: it is kept in files where it was another one
            than the global policy.

    Call arguments:
        token_ids: int32 (batch, tokens), from `tokenize`.

    Returns:
        float32 (batch, tokens, dim), the context. Places where `mask(token_ids)` is False mean nothing.

    Raises:
        ValueError: a backbone without features for each token, or one built for fewer tokens; `separator_id` with one
            that takes no padding mask, like that of CLIP; `clip_skip` with another one than that of CLIP.
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
        dtype=None,
        name="text_encoder",
        **kwargs,
    ):
        super().__init__(name=name, dtype=dtype, **kwargs)
        longest = getattr(backbone, "max_sequence_length", None)
        if sequence_length < 3 or (longest and sequence_length > longest):
            raise ValueError(
                f"`sequence_length` must be between 3 and what the backbone was built for ({longest}). "
                f"Received: {sequence_length=}"
            )
        self.backbone = backbone
        self.tokenizer = tokenizer
        self._given_dtype = dtypes.given(dtype)
        self._backbone_follows = backbone.dtype_policy.name == keras.config.dtype_policy().name
        tokenizer.built = True  # it has no weights; until it is called Keras would think that something is missing
        self.sequence_length = sequence_length
        self.separator_id = separator_id
        self.mask_padding = mask_padding
        self.clip_skip = clip_skip
        self.sequence_model = sequence_model(backbone, clip_skip)
        self.context_dim = self.sequence_model.output.shape[-1]
        takes_mask = any(name.endswith("padding_mask") for name in self.sequence_model.input)
        if separator_id is not None and not takes_mask:
            raise ValueError(
                "`separator_id` needs a backbone that takes a padding mask. "
                f"Received: {separator_id=}, a backbone with inputs {sorted(self.sequence_model.input)}"
            )
        self.trainable = trainable
        self.word_layers = []
        self.words = Words(self)
        self.built = True

    # Tokenizers learn their special tokens with their vocabulary, which may be loaded after this encoder is made.

    @property
    def start_id(self):
        """Token that opens a prompt, or None: the start mark of T5 is its end mark, and for its decoder."""
        start_id = special_id(self.tokenizer, "cls_token_id", "start_token_id")
        return None if start_id == self.end_id else start_id

    @property
    def end_id(self):
        """Token that closes a prompt, or None."""
        return special_id(self.tokenizer, "sep_token_id", "end_token_id")

    @property
    def pad_id(self):
        """Token that fills the rest."""
        return special_id(self.tokenizer, "pad_token_id") or 0

    def call(self, token_ids, training=False):
        # A frozen encoder gives the same features while the rest trains: no dropout.
        training = training and self.trainable
        mask = self.mask(token_ids)
        if self.separator_id is None:
            return self._features(token_ids, mask, training)
        behind = self._behind_separator(token_ids)
        masks = [ops.logical_and(mask, part) for part in (ops.logical_not(behind), behind)]
        features = self._features(ops.concatenate([token_ids] * 2), ops.concatenate(masks), training)
        in_front, in_back = ops.split(features, 2)
        return ops.where(behind[..., None], in_back, in_front)

    def _features(self, token_ids, seen, training):
        """The context (b, tokens, dim), where only tokens are looked at that are `seen`, bool (b, tokens)."""
        values = {
            "token_ids": token_ids,
            "padding_mask": ops.cast(seen, "int32"),
            "segment_ids": ops.zeros_like(token_ids),
        }
        inputs = {name: values[name.removeprefix("encoder_")] for name in self.sequence_model.input}
        return ops.cast(self.sequence_model(inputs, training=training), "float32")

    def _behind_separator(self, token_ids):
        """True behind the last separator of each row, everywhere in a row without one: bool (batch, tokens)."""
        separators = ops.cast(ops.equal(token_ids, self.separator_id), "int32")
        in_front = ops.cumsum(separators, axis=1) - separators
        return ops.equal(in_front, ops.sum(separators, axis=1, keepdims=True))

    def mask(self, token_ids):
        """True where the network sees a token: bool (batch, tokens); everywhere unless `mask_padding`.

        Everything up to the first end mark counts, so that tokenizers that pad with the end mark (CLIP) work too.
        """
        if not self.mask_padding:
            return ops.ones_like(token_ids, dtype="bool")
        if self.end_id is None:
            return ops.not_equal(token_ids, self.pad_id)
        ends = ops.cast(ops.equal(token_ids, self.end_id), "int32")
        return ops.equal(ops.cumsum(ends, axis=1) - ends, 0)

    def condition(self, token_ids, training=False):
        """What the network is conditioned on.

        Args:
            token_ids: int32 (batch, tokens), from `tokenize`.

        Returns:
            dict of `context`, float32 (batch, tokens, dim), and `context_mask`, bool (batch, tokens).
        """
        return {"context": self(token_ids, training=training), "context_mask": self.mask(token_ids)}

    def conditioning_spec(self, num_tokens=None):
        """`keras.InputSpec`s of what `condition` returns, by name, for any batch of so many tokens."""
        num_tokens = self.sequence_length if num_tokens is None else num_tokens
        return {
            "context": keras.InputSpec("float32", (None, num_tokens, self.context_dim)),
            "context_mask": keras.InputSpec("bool", (None, num_tokens)),
        }

    def tokenize(self, prompts):
        """Token ids of prompts, of fixed length.

        Args:
            prompts: list of str or bytes (UTF-8), or an array or a string tensor of them.

        Returns:
            int32 numpy array (len(prompts), sequence_length). Warns when a prompt is cut, and says what was.
        """
        texts = as_rows(prompts, "prompts")
        rows = []
        for ids, text in zip(self.words.token_ids(texts), texts, strict=True):
            rows.append(self._row(ids, text))  # in a loop, so that a warning is one of the caller's line
        return np.array(rows)

    def tokenize_pieces(self, pieces):
        """Token ids of one prompt of which some pieces count more than others.

        Args:
            pieces: list of (text, weight).

        Returns:
            int32 numpy array (sequence_length,), and the weight of each token, float32, 1 for those of no text. Warns
            like `tokenize`.
        """
        texts, weights = [text for text, _ in pieces], [weight for _, weight in pieces]
        ids = self.words.token_ids(texts)
        row = self._row([token for piece in ids for token in piece], "".join(texts))
        row_weights = np.ones(self.sequence_length, "float32")
        weights = np.repeat(weights, [len(piece) for piece in ids])[: self._room]
        first = 0 if self.start_id is None else 1
        row_weights[first : first + len(weights)] = weights
        return row, row_weights

    @property
    def _room(self):
        """Tokens of a prompt beside its marks."""
        return self.sequence_length - sum(mark is not None for mark in (self.start_id, self.end_id))

    def _row(self, ids, prompt):
        """Token ids with marks and padding, int32 (sequence_length,). Warns when the prompt is cut."""
        if len(ids) > self._room:
            lost = self.words.text_of(ids[self._room :])
            warnings.warn(
                f"The prompt {prompt!r} has {len(ids)} tokens, {self._room} fit: it was cut before {lost!r}.",
                stacklevel=3,
            )
        start, end = ([] if mark is None else [mark] for mark in (self.start_id, self.end_id))
        ids = start + ids[: self._room] + end
        return np.array(ids + [self.pad_id] * (self.sequence_length - len(ids)), "int32")

    def encode(self, prompts):
        """Text features of prompts.

        Returns:
            context float32 (batch, tokens, dim) and context_mask bool (batch, tokens).
        """
        token_ids = ops.convert_to_tensor(self.tokenize(prompts))
        return self(token_ids), self.mask(token_ids)

    def export(self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs):
        """As `keras.Model.export`; by default for token ids of any batch."""
        input_signature = input_signature or [keras.InputSpec("int32", (None, self.sequence_length))]
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
