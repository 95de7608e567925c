"""Prompts to token ids inside a TensorFlow graph."""

import warnings

PROBES = ("a red apple", "Two RED Apples, 3d!", "the smiling cat's café", "", "[SEP] </s> <|endoftext|>")
PROBES += ("in 2024, 10 cats", "cafe\u0301 🙂!", "a\u00a0b\u3000c", "ΟΔΟΣ")
# How CLIP cuts texts into words. KerasHub's code for graphs joins digits and keeps the case.
CLIP_MARKS = r"(<\|startoftext\|>|<\|endoftext\|>)"
CLIP_WORDS = CLIP_MARKS[:-1] + r"|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+)"
SPACES = r"[\x{00}\s\x{0b}\x{85}\p{Z}]+"


def graph_tokenizer(text_encoder):
    """A tf.function that does in a graph what `TextEncoder.tokenize` does: see `tokenize`.

    KerasHub's tokenizers have code for graphs, and other code for Python. That of CLIP is helped by `clip_words`.

    Args:
        text_encoder: a `TextEncoder`; its tokenizer may use TF Text's operators.

    Raises:
        ValueError: its tokenizer gives other ids in a graph than in Python.
    """
    import keras_hub
    import tensorflow as tf

    is_clip = isinstance(text_encoder.tokenizer, keras_hub.models.CLIPTokenizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a probe was cut
        probes = [*PROBES, "the cat " * text_encoder.num_tokens]  # the last fills all chunks
        probes += [f"a {word}, two{word} {word}{word}s" for word in text_encoder.words]
        right = text_encoder.tokenize(probes)

    def function(prompts):
        return tokenize(text_encoder, prompts, clip_words if is_clip else tf.identity)

    compiled = tf.function(function, input_signature=[tf.TensorSpec([None], "string")])
    if (compiled(tf.constant(probes))[0].numpy() == right).all():
        return compiled
    raise ValueError(
        "`token_ids` must be True, since this tokenizer gives other ids in a graph than in Python. "
        f"Received: {type(text_encoder.tokenizer).__name__}"
    )


def clip_words(prompts):
    """Texts, string (batch,), normalized as CLIP's tokenizer does it, each word on a line of its own.

    Two characters are lost: "\\0", which ends strings in TensorFlow's operators, and the digit "६", with which
    KerasHub's marks places.
    """
    import tensorflow as tf
    import tensorflow_text as tf_text

    text = tf.strings.regex_replace(tf_text.normalize_utf8(prompts, "NFC"), SPACES, "\n")
    # ICU turns a sigma at the end of a word into another letter than the reference.
    text = tf.strings.lower(tf.strings.regex_replace(text, "Σ", "σ"), "utf-8")
    text = tf.strings.regex_replace(text, CLIP_MARKS, "\n\\1\n")
    return tf.strings.regex_replace(text, CLIP_WORDS, "\\1\n")


def tokenize(text_encoder, prompts, prepare):
    """Token ids of prompts.

    Args:
        text_encoder: a `TextEncoder`.
        prompts: string (batch,), valid UTF-8.
        prepare: function of strings (n,), what to do with them before they are tokenized.

    Returns:
        int32 (batch, num_tokens), and the number of tokens that did not fit, int32 (batch,).
    """
    import tensorflow as tf

    marks = [[] if mark is None else [mark] for mark in (text_encoder.start_id, text_encoder.end_id)]
    num_chunks, room = text_encoder.max_chunks, text_encoder.sequence_length - sum(map(len, marks))
    tokens = _with_words(text_encoder, prompts, prepare)  # (batch, ragged)
    lengths = tf.cast(tokens.row_lengths(), "int32")
    tokens = tokens[:, : num_chunks * room].to_tensor(0, shape=(None, num_chunks * room))
    tokens = tf.reshape(tokens, (-1, room))  # (batch chunks, room)
    begins = tf.range(num_chunks) * room
    kept = tf.reshape(tf.clip_by_value(lengths[:, None] - begins, 0, room), [-1])  # tokens of each chunk
    kept = tf.RaggedTensor.from_tensor(tokens, lengths=kept)
    start, end = (tf.repeat([tf.constant(mark, "int32")], tf.shape(tokens)[0], axis=0) for mark in marks)
    chunks = tf.concat([start, kept, end], axis=1)
    token_ids = chunks.to_tensor(text_encoder.pad_id, shape=(None, text_encoder.sequence_length))
    used = tf.reshape(tf.logical_or(begins == 0, lengths[:, None] > begins), (-1, 1))  # (batch chunks, 1)
    token_ids = tf.reshape(tf.where(used, token_ids, text_encoder.pad_id), (-1, text_encoder.num_tokens))
    return token_ids, tf.maximum(lengths - num_chunks * room, 0)


def _with_words(text_encoder, prompts, prepare):
    """Token ids of prompts without marks, ragged int32 (batch, None), with those of the new words of the encoder."""
    import tensorflow as tf
    import tensorflow_text as tf_text

    ids, pattern = text_encoder.words.ids, text_encoder.words.pattern
    if not ids:
        return _plain_tokens(text_encoder, prepare(prompts))
    pieces = tf_text.regex_split(prompts, pattern, pattern)  # (batch, ragged), the words between what is around them
    texts = pieces.flat_values  # (n,)
    places = tf.range(1, len(ids) + 1) * tf.cast(texts[:, None] == tf.constant(list(ids)), "int32")  # (n, words)
    place = tf.reduce_max(places, axis=1)  # (n,), 0 for what is no word
    new = tf.gather(tf.ragged.constant([[], *ids.values()], "int32"), place)  # (n, ragged)
    plain = _plain_tokens(text_encoder, prepare(tf.where(place > 0, "", texts)))  # (n, ragged)
    return pieces.with_flat_values(tf.concat([plain, new], axis=1)).merge_dims(1, 2)


def _plain_tokens(text_encoder, texts):
    """Token ids of texts, ragged int32 (n, None)."""
    import tensorflow as tf

    # An empty string is its own case: some tokenizers can't take one. Blanks are too: some make a token of them here.
    empty = tf.equal(tf.strings.strip(texts), "")
    tokens = tf.cast(text_encoder.tokenizer(tf.where(empty, "a", texts)), "int32")  # (n, ragged)
    # Byte pair tokenizers say -1 for what Python leaves out.
    return tf.ragged.boolean_mask(tokens, tf.logical_and(tokens >= 0, tf.logical_not(empty)[:, None]))
