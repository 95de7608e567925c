"""Rows of token ids: how prompts become rows of fixed length, and which places of a row are text."""

import warnings

import numpy as np
from keras import ops

from latentdiff.models.tokenizers import chunks_of, special_id
from latentdiff.settings.texts import as_rows


class TokenRows:
    """Mixed into `TextEncoder`, which has the `tokenizer`, the `words`, the lengths and `mask_padding`.

    A row has `max_chunks` chunks of `sequence_length` tokens. Each chunk has a start and an end mark of its own.
    """

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

    # === Prompts to rows ===

    def tokenize(self, prompts):
        """Token ids of prompts, of fixed length.

        Args:
            prompts: list of str or bytes (UTF-8), or an array or a string tensor of them.

        Returns:
            int32 numpy array (len(prompts), num_tokens). Warns when a prompt is cut, and says what was.
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
            int32 numpy array (num_tokens,), and the weight of each token, float32, 1 for those of no text. Warns like
            `tokenize`.
        """
        texts, weights = [text for text, _ in pieces], [weight for _, weight in pieces]
        ids = self.words.token_ids(texts)
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
            lost = self.words.text_of(ids[room:])
            warnings.warn(
                f"The prompt {prompt!r} has {len(ids)} tokens, {room} fit: it was cut before {lost!r}.", stacklevel=3
            )
        shape = (self.max_chunks, self.sequence_length)
        return chunks_of(ids[:room], self.start_id, self.end_id, self.pad_id, shape).ravel()

    # === What of a row is text ===

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
