"""The text encoder: prompts to text features, by any KerasHub backbone."""

import warnings

import keras
import numpy as np
from keras import ops

from latentdiff.diffusion import conditioning as trees
from latentdiff.models import dtypes
from latentdiff.models.quantized import from_quantized_config, quantization_config
from latentdiff.models.text_backbone import sequence_model
from latentdiff.models.tokenizers import chunks_of, special_id, text_of, token_ids
from latentdiff.settings.request import check_count
from latentdiff.settings.texts import as_rows


@keras.saving.register_keras_serializable(package="latentdiff")
class TextEncoder(keras.Model):
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
        self.zero_empty = zero_empty
        self.max_chunks = check_count("max_chunks", max_chunks)
        self.sequence_model = sequence_model(backbone, clip_skip)
        self.context_dim = self.sequence_model.output["context"].shape[-1]
        takes_mask = any(name.endswith("padding_mask") for name in self.sequence_model.input)
        if separator_id is not None and not takes_mask:
            raise ValueError(
                "`separator_id` needs a backbone that takes a padding mask. "
                f"Received: {separator_id=}, a backbone with inputs {sorted(self.sequence_model.input)}"
            )
        self.trainable = trainable
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

    @property
    def num_tokens(self):
        """Tokens of the longest prompt, marks included."""
        return self.max_chunks * self.sequence_length

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

    def mask(self, token_ids):
        """True where the network sees a token: bool (batch, tokens); everywhere in a chunk unless `mask_padding`.

        Everything up to the first end mark counts, so that tokenizers that pad with the end mark (CLIP) work too.
        """
        if self._is_one_chunk(token_ids):
            return self._chunk_mask(token_ids)
        visible = ops.reshape(self._chunk_mask(self._chunks(token_ids)), ops.shape(token_ids))  # (b, tokens)
        return ops.logical_and(visible, ops.repeat(self._begun(token_ids), self.sequence_length, axis=1))

    def trim(self, token_ids):
        """Token ids (batch, tokens) without the chunks at their end that no row needs."""
        if self.max_chunks == 1:
            return token_ids
        count = ops.max(ops.sum(ops.cast(self._begun(token_ids), "int32"), axis=1))
        return token_ids[:, : count * self.sequence_length]

    def _is_one_chunk(self, token_ids):
        length = token_ids.shape[1]  # None in a graph that takes any number of chunks
        return self.max_chunks == 1 or (length is not None and length <= self.sequence_length)

    def _chunks(self, token_ids):
        return ops.reshape(token_ids, (-1, self.sequence_length))  # (b chunks, sequence_length)

    def _begun(self, token_ids):
        """Which chunks a prompt has, bool (batch, chunks): the first, and all that begin with more than padding."""
        starts = token_ids[:, :: self.sequence_length]
        return ops.concatenate([ops.ones_like(starts[:, :1], dtype="bool"), starts[:, 1:] != self.pad_id], axis=1)

    def _chunk_mask(self, token_ids):
        return self._is_text(token_ids) if self.mask_padding else ops.ones_like(token_ids, dtype="bool")

    def _is_text(self, token_ids):
        """False where a token of a chunk is padding: bool (batch, sequence_length)."""
        if self.end_id is None:
            return ops.not_equal(token_ids, self.pad_id)
        ends = ops.cast(ops.equal(token_ids, self.end_id), "int32")
        return ops.equal(ops.cumsum(ends, axis=1) - ends, 0)

    def condition(self, token_ids, training=False):
        """What the network is conditioned on.

        Args:
            token_ids: int32 (batch, tokens), from `tokenize`.

        Returns:
            dict of `context`, float32 (batch, tokens, dim), and `context_mask`, bool (batch, tokens); with a backbone
            such as `ClipPair` also of `pooled_context`, float32 (batch, dim).
        """
        return {**self._features(token_ids, training), "context_mask": self.mask(token_ids)}

    def conditioning_spec(self, num_tokens=None):
        """`keras.InputSpec`s of what `condition` returns, by name, for any batch of so many tokens."""
        num_tokens = self.num_tokens if num_tokens is None else num_tokens
        shapes = {name: tensor.shape for name, tensor in self.sequence_model.output.items()}
        shapes["context"] = (None, num_tokens, self.context_dim)
        specs = {name: keras.InputSpec("float32", shape) for name, shape in shapes.items()}
        return {**specs, "context_mask": keras.InputSpec("bool", (None, num_tokens))}

    def tokenize(self, prompts):
        """Token ids of prompts, of fixed length.

        Args:
            prompts: list of str or bytes (UTF-8), or an array or a string tensor of them.

        Returns:
            int32 numpy array (len(prompts), num_tokens). Warns when a prompt is cut, and says what was.
        """
        texts = as_rows(prompts, "prompts")
        rows = []
        for ids, text in zip(token_ids(self.tokenizer, texts), texts, strict=True):
            rows.append(self._row(ids, text))  # in a loop, so that a warning is one of the caller's line
        return np.array(rows)

    def tokenize_pieces(self, pieces):
        """Token ids of one prompt of which some pieces count more than others.

        Args:
            pieces: list of (text, weight).

        Returns:
            int32 numpy array (num_tokens,), and the weight of each token, float32, 1 for those of no text. Warns like
            `tokenize`.
        """
        texts, weights = [text for text, _ in pieces], [weight for _, weight in pieces]
        ids = token_ids(self.tokenizer, texts)
        row = self._row([token for piece in ids for token in piece], "".join(texts))
        inner = np.ones((self.max_chunks, self._room), "float32")
        weights = np.repeat(weights, [len(piece) for piece in ids])[: inner.size]
        inner.flat[: len(weights)] = weights
        first = 0 if self.start_id is None else 1
        row_weights = np.ones((self.max_chunks, self.sequence_length), "float32")
        row_weights[:, first : first + self._room] = inner
        return row, row_weights.ravel()

    @property
    def _room(self):
        """Tokens of a chunk beside its marks."""
        return self.sequence_length - sum(mark is not None for mark in (self.start_id, self.end_id))

    def _row(self, ids, prompt):
        """Token ids with marks and padding, int32 (num_tokens,). Warns when the prompt is cut."""
        room = self.max_chunks * self._room
        if len(ids) > room:
            lost = text_of(self.tokenizer, ids[room:])
            warnings.warn(
                f"The prompt {prompt!r} has {len(ids)} tokens, {room} fit: it was cut before {lost!r}.", stacklevel=3
            )
        shape = (self.max_chunks, self.sequence_length)
        return chunks_of(ids[:room], self.start_id, self.end_id, self.pad_id, shape).ravel()

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
        }

    @classmethod
    def from_config(cls, config):
        parts = {name: keras.saving.deserialize_keras_object(config[name]) for name in ("backbone", "tokenizer")}
        return from_quantized_config(cls, {**config, **parts})


def _zeros(features):
    return keras.tree.map_structure(ops.zeros_like, features)
