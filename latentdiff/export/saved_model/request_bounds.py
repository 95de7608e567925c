"""What a request may ask for, row by row.

A server makes one batch of the requests of several people, and an error would fail them all. So a value out of range is
no error here: the row gets the nearest picture that can be made, and a warning that says so; the others get theirs.
"""

from latentdiff.diffusion import noise

DEFAULT = -1  # for `num_steps` and `guidance_scale`: what the model is set to
MAX_GUIDANCE_SCALE = 1000.0
MAX_PROMPT_BYTES = 10_000


class Warnings:
    """Collects what was changed: one string a row, empty where nothing was.

    Args:
        values: an input of the request, one value a row.
    """

    def __init__(self, values):
        import tensorflow as tf

        self.texts = tf.fill(tf.shape(values)[:1], "")

    def add(self, rows, text):
        """Says `text` (str, or string (batch,)) of the rows, bool (batch,)."""
        import tensorflow as tf

        line = tf.strings.join([tf.where(self.texts == "", "", " "), text])
        self.texts = tf.strings.join([self.texts, tf.where(rows, line, "")])


def counted(*inputs):
    """The inputs of a request, as they are. No rows, or unequal ones, fail it before anything else can."""
    import tensorflow as tf

    counts = tf.stack([tf.shape(values)[0] for values in inputs])
    checks = [
        tf.debugging.Assert(tf.reduce_all(counts > 0), ["A request must have at least one row. Received:", counts]),
        tf.debugging.Assert(
            tf.reduce_all(counts == counts[0]), ["All inputs must have the same number of rows. Received:", counts]
        ),
    ]
    with tf.control_dependencies(checks):
        return [tf.identity(values) for values in inputs]


def spread(values, batch, name):
    """`values` for each row: one value counts for all, any number but `batch` is an error of the whole request."""
    import tensorflow as tf

    length = tf.shape(values)[0]
    fits = tf.logical_or(tf.equal(length, batch), tf.equal(length, 1))
    message = f"`{name}` must hold one value, or one for each row. Received: values and rows"
    with tf.control_dependencies([tf.debugging.Assert(fits, [message, length, batch])]):
        rows = tf.where(tf.equal(length, 1), tf.zeros([batch], "int32"), tf.range(batch))
    return tf.gather(values, rows)


def bound_settings(seeds, num_steps, guidance_scale, defaults, max_steps, warnings):
    """Settings that can be used.

    Args:
        seeds, num_steps: int32 (batch,).
        guidance_scale: float32 (batch,).
        defaults: (number of steps, guidance scale) where a row says `DEFAULT`.
        max_steps: most steps a row gets.
        warnings: `Warnings`, added to.

    Returns:
        seeds in [0, 2**31 - 1], num_steps in [1, max_steps], guidance_scale in [1, 1000].
    """
    import tensorflow as tf

    num_steps = tf.where(tf.equal(num_steps, DEFAULT), defaults[0], num_steps)
    guidance_scale = tf.where(tf.equal(guidance_scale, DEFAULT), defaults[1], guidance_scale)
    number = tf.where(tf.math.is_nan(guidance_scale), defaults[1], guidance_scale)
    bounded = {
        "seeds": (seeds, tf.maximum(seeds, 0), (0, noise.MAX_SEED)),
        "num_steps": (num_steps, tf.clip_by_value(num_steps, 1, max_steps), (1, max_steps)),
        "guidance_scale": (
            guidance_scale,
            tf.clip_by_value(number, 1.0, MAX_GUIDANCE_SCALE),
            (1.0, MAX_GUIDANCE_SCALE),
        ),
    }
    for name, (asked, used, (low, high)) in bounded.items():
        numbers = [tf.strings.as_string(value, shortest=value.dtype == tf.float32) for value in (used, asked)]
        text = [f"`{name}` must lie in [{low}, {high}]; used ", numbers[0], ". Received: ", numbers[1], "."]
        warnings.add(asked != used, tf.strings.join(text))
    return tuple(used for _, used, _ in bounded.values())


def bound_text(texts, name, warnings):
    """Valid UTF-8 of at most `MAX_PROMPT_BYTES` bytes: string (batch,)."""
    import tensorflow as tf

    cut = tf.strings.substr(texts, 0, MAX_PROMPT_BYTES)
    valid = tf.strings.unicode_transcode(cut, "UTF-8", "UTF-8", errors="replace")
    too_long = tf.strings.length(texts) > MAX_PROMPT_BYTES
    wrong = tf.logical_and(valid != cut, tf.logical_not(too_long))
    warnings.add(too_long, f"`{name}` was cut after {MAX_PROMPT_BYTES} bytes.")
    warnings.add(wrong, f"`{name}` is not UTF-8; wrong bytes were replaced.")
    return valid


def bound_token_ids(token_ids, vocabulary_size, name, warnings):
    """Token ids in [0, vocabulary_size): int32 (batch, tokens)."""
    import tensorflow as tf

    last = vocabulary_size - 1
    used = tf.clip_by_value(token_ids, 0, last)
    wrong = tf.reduce_any(used != token_ids, axis=1)
    warnings.add(wrong, f"`{name}` must lie in [0, {last}]; the nearest were used.")
    return used


def bound_timesteps(timesteps, noise_schedule):
    """Timesteps that the U-Net knows, float32 (batch,) in [0, num_train_timesteps - 1]; 0 for NaN."""
    import tensorflow as tf

    number = tf.where(tf.math.is_nan(timesteps), 0.0, timesteps)
    return tf.clip_by_value(number, 0.0, noise_schedule.num_train_timesteps - 1.0)
