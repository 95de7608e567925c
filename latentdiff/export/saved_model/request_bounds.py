"""What a request may ask for, row by row.

A server makes one batch of the requests of several people, and an error would fail them all. So a value out of range is
no error here: the row gets the nearest image that can be made, and a warning that says so; the others get theirs.
"""

import dataclasses

from latentdiff.settings.table import DRAWN, DRAWN_SEEDS, LARGEST, MAX_PROMPT_BYTES, SETTINGS, SIZES, UNSET
from latentdiff.settings.wire import SERVED

NUMBERS = [row for row in SERVED if row.kind is not str]
BY_WIRE = {row.wire: row for row in SETTINGS.values()}


def numbers_of(conditioning_names):
    """The rows of the numbers that a model takes whose network has these members of the conditioning."""
    return [*NUMBERS, *(row for row in SIZES if row.needs in conditioning_names)]


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


def bound_settings(values, defaults, most, warnings):
    """Settings that can be used.

    Args:
        values: dict of input name to tensor (batch, ...), of settings that are numbers.
        defaults: dict of setting name to the value that a row gets which says `UNSET`; drawn ones need none.
        most: dict of setting name to its upper bound, where it is not that of the table.
        warnings: `Warnings`, added to.

    Returns:
        dict of input name to tensor, within the bounds.
    """
    import tensorflow as tf

    used = {}
    for name, value in values.items():
        row = BY_WIRE[name]
        row = dataclasses.replace(row, high=most.get(row.name, row.high))
        default = _drawn(value) if row.default == DRAWN else tf.constant(defaults[row.name], row.dtype)
        asked = tf.where(_all(tf.equal(value, UNSET), row), default, value)
        made = used[name] = _within(row, asked, default)
        numbers = [_as_text(row, one) for one in (made, asked)]
        text = [f"`{name}` must be {row.expected}; used ", numbers[0], ". Received: ", numbers[1], "."]
        kept = tf.reshape(_all(tf.equal(asked, made), row), [-1])  # NaN is not kept
        warnings.add(tf.logical_not(kept), tf.strings.join(text))
    return used


def _within(row, asked, default):
    """Values within the bounds of a row of the table; the default where there is no nearest one."""
    import tensorflow as tf

    number = asked
    if row.dtype == "float32":
        number = tf.where(tf.math.is_nan(asked), default, asked)
    high = number.dtype.max if row.high is None else row.high
    if row.dtype == "float32" and row.high is None:
        high = float("inf")
    number = tf.clip_by_value(number, tf.cast(row.low, row.dtype), tf.cast(high, row.dtype))
    if row.kind is not tuple:
        return number
    edges = tf.minimum(number, LARGEST)  # which stands for infinity
    return tf.where(edges[:, :1] < edges[:, 1:], number, default)


def _all(flags, row):
    """Whether a flag holds for a whole value: bool (batch,), or (batch, 1) where values have an axis of their own."""
    import tensorflow as tf

    return tf.reduce_all(flags, axis=-1, keepdims=True) if row.shape else flags


def _as_text(row, values):
    import tensorflow as tf

    texts = tf.strings.as_string(values, shortest=row.dtype == "float32")
    return tf.strings.reduce_join(texts, axis=-1, separator=" ") if row.shape else texts


def _drawn(seeds):
    """Fresh seeds, like `seeds`; a server draws them for those who sent none."""
    import tensorflow as tf

    return tf.random.uniform(tf.shape(seeds), maxval=DRAWN_SEEDS, dtype="int32")


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
