"""Prompts to token ids inside a TensorFlow graph."""


def tokenize(text_encoder, prompts):
    """Token ids of prompts, as `TextEncoder.tokenize` gives them.

    Args:
        text_encoder: a `TextEncoder`; its tokenizer may use TF Text's operators.
        prompts: string (batch,), valid UTF-8.

    Returns:
        int32 (batch, sequence_length), and the number of tokens that did not fit, int32 (batch,).
    """
    import tensorflow as tf

    marks = [[] if mark is None else [mark] for mark in (text_encoder.start_id, text_encoder.end_id)]
    room = text_encoder.sequence_length - sum(map(len, marks))
    # An empty string is its own case: some tokenizers can't take one.
    empty = tf.equal(prompts, "")
    tokens = tf.cast(text_encoder.tokenizer(tf.where(empty, "a", prompts)), "int32")  # (batch, ragged)
    lengths = tf.where(empty, 0, tf.cast(tokens.row_lengths(), "int32"))
    tokens = tokens[:, :room].to_tensor(0, shape=(None, room))  # (batch, room)
    start, end = (tf.repeat([tf.constant(mark, "int32")], tf.shape(prompts)[0], axis=0) for mark in marks)
    kept = tf.RaggedTensor.from_tensor(tokens, lengths=tf.minimum(lengths, room))
    tokens = tf.concat([start, kept, end], axis=1)
    token_ids = tokens.to_tensor(text_encoder.pad_id, shape=(None, text_encoder.sequence_length))
    return token_ids, tf.maximum(lengths - room, 0)
