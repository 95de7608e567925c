"""New words of a text encoder (textual inversion): vectors that stand where others have those of the token table."""

import itertools
import re

import keras
import numpy as np
from keras import ops

from latentdiff.models.layers.embedded_words import extend
from latentdiff.models.tokenizers import text_of, token_ids

SYNTAX = set("()|:\\")  # of prompts, see `settings.prompt_syntax`


class Word(keras.layers.Layer):
    """One new word: one vector or several, which take the places of as many tokens.

    Args:
        text: str, the word.
        shape: (number of vectors, width of the token table).
        trainable: whether `fit` changes it.

    Reference: Gal et al., An Image is Worth One Word, 2022, arXiv:2208.01618.
    """

    def __init__(self, text, shape, trainable=True, name="word"):
        super().__init__(name=name, trainable=trainable, dtype="float32")
        self.text = text
        self.vectors = self.add_weight(name="vectors", shape=shape, initializer="zeros")
        self.built = True

    def get_config(self):
        """What `Words.restore` needs, beside the text encoder; the values of the vectors are weights."""
        return {"text": self.text, "num_vectors": self.vectors.shape[0], "trainable": self.trainable}


class Words:
    """The new words of a `TextEncoder` by their text: `text_encoder.words`.

    A word is found wherever it stands in a prompt as it was given, but not inside of a longer word. Its token ids are
    those behind the table of the backbone. While a word is `trainable`, `fit` changes the trainable words and adapters
    alone. Call `compile` after each change of the words. `.keras` files, presets and SavedModels hold them.

    Args:
        text_encoder: a `TextEncoder`, or a keras.Model with `backbone`, `tokenizer` and a list `word_layers`.
    """

    def __init__(self, text_encoder):
        self._encoder = text_encoder
        self.revision = 0  # counts changes: what was compiled before one is compiled again

    def __iter__(self):
        return iter([word.text for word in self._encoder.word_layers])

    def __len__(self):
        return len(self._encoder.word_layers)

    def __getitem__(self, text):
        for word in self._encoder.word_layers:
            if word.text == text:
                return word
        raise ValueError(f"`text` must be a new word, one of {list(self)}. Received: {text=}")

    # === Changes ===

    def add(self, text, num_vectors=1, like=None):
        """Adds a new word, to be trained.

        Args:
            text: str, such as "<glimp>".
            num_vectors: int >= 1.
            like: text whose tokens the vectors start from, in turns; default: the mean of all tokens.

        Returns:
            The `Word`.

        Raises:
            ValueError: no vectors, a `like` without tokens, a word that is there already or that can be no word.
        """
        if not isinstance(num_vectors, int) or num_vectors < 1:
            raise ValueError(f"`num_vectors` must be a whole number of at least 1. Received: {num_vectors=}")
        table = ops.convert_to_numpy(self.table.embeddings)  # (ids, dim)
        (ids,) = [range(len(table))] if like is None else self.token_ids([like])
        if not len(ids):
            raise ValueError(f"`like` must be a text with tokens. Received: {like=}")
        start = table.mean(axis=0, keepdims=True) if like is None else self._vectors_of(table, ids)
        word = self._attach(text, num_vectors, trainable=True)
        word.vectors.assign(start[np.arange(num_vectors) % len(start)])
        return word

    def insert(self, text, vectors):
        """Adds a word with known vectors, float (n, dim) or (dim,), which is not trainable; returns the `Word`."""
        vectors = np.atleast_2d(np.asarray(vectors, "float32"))
        if vectors.ndim != 2 or vectors.shape[1] != self.dim or not np.isfinite(vectors).all() or not len(vectors):
            raise ValueError(f"`vectors` must be finite numbers (n, {self.dim}). Received: shape {vectors.shape}")
        word = self._attach(text, len(vectors), trainable=False)
        word.vectors.assign(vectors)
        return word

    def restore(self, config):
        """Adds a word from its config; the values come with the weights of the model."""
        return self._attach(**config)

    def remove(self, text):
        """Takes a word away. The ids of those that were added after it change."""
        self._encoder.word_layers.remove(self[text])
        self.revision += 1

    def clear(self):
        """Takes all words away."""
        for text in list(self):
            self.remove(text)

    def _attach(self, text, num_vectors, trainable):
        if not text or text != text.strip() or not text.isprintable() or SYNTAX & set(text):
            raise ValueError(f"`text` must be a word without {' '.join(sorted(SYNTAX))}. Received: {text=}")
        if text in list(self):
            raise ValueError(f"`text` must be a new word beside {list(self)}. Received: {text=}")
        word, encoder = Word(text, (num_vectors, self.dim), trainable), self._encoder
        if not hasattr(self.table, "_word_vectors"):
            extend(self.table, lambda: [layer.vectors for layer in encoder.word_layers])
        encoder._tracker.unlock()
        encoder.word_layers.append(word)
        self.revision += 1
        return word

    def _vectors_of(self, table, ids):
        """The vectors of token ids, of which some may be those of words."""
        known = [ops.convert_to_numpy(layer.vectors) for layer in self._encoder.word_layers]
        return np.concatenate([table, *known])[list(ids)]

    # === The table ===

    @property
    def table(self):
        """The layer of the backbone that embeds tokens."""
        layers = self._encoder.sequence_model._flatten_layers(include_self=False)
        tables = [layer for layer in layers if isinstance(layer, keras.layers.Embedding) and "token" in layer.name]
        if len(tables) != 1:
            raise ValueError(f"`backbone` must have one table of tokens for new words. Received: {len(tables)}")
        return tables[0]

    @property
    def dim(self):
        """Width of the token table, which is that of the vectors of words."""
        return self.table.output_dim

    # === Tokens ===

    @property
    def ids(self):
        """dict of each word -> its token ids, a list."""
        first, ids = self.table.input_dim if len(self) else 0, {}
        for word in self._encoder.word_layers:
            ids[word.text] = list(range(first, first + word.vectors.shape[0]))
            first += len(ids[word.text])
        return ids

    @property
    def pattern(self):
        """A regular expression of Python (ASCII) and RE2 that finds the words in a text; None where there are none."""
        longest_first = sorted(self, key=len, reverse=True)
        return "|".join(_inside_borders(re.escape(text), text) for text in longest_first) or None

    def token_ids(self, texts):
        """Token ids of each text, without marks: a list of lists."""
        ids, pattern = self.ids, self.pattern
        pieces = [re.split(f"({pattern})", text, flags=re.ASCII) if pattern else [text] for text in texts]
        known = iter(token_ids(self._encoder.tokenizer, [piece for row in pieces for piece in row[::2]]))
        return [
            [token for place, piece in enumerate(row) for token in (ids[piece] if place % 2 else next(known))]
            for row in pieces
        ]

    def text_of(self, ids):
        """The text of token ids; the ids of a word give its name, once."""
        names = {token: text for text, tokens in self.ids.items() for token in tokens}
        runs = [(name, list(run)) for name, run in itertools.groupby(ids, names.get)]
        return " ".join(text_of(self._encoder.tokenizer, run) if name is None else name for name, run in runs)


def _inside_borders(pattern, text):
    """The pattern of a word that does not stand inside of a longer one."""
    left, right = (r"\b" if re.match(r"\w", letter, re.ASCII) else "" for letter in (text[0], text[-1]))
    return f"{left}{pattern}{right}"
