"""Conditioning: all that steers the network beside latents and time, as one value.

It is a dict of named tensors, each with the batch in front, as in `{"context": ..., "pooled_context": ...}`. The
text encoder makes it and the network uses it. Whatever stands between them treats it as one value, by the functions
here, and knows none of the names.
"""

import keras
from keras import ops


def rows(conditioning, start, stop):
    """The rows from `start` to `stop`; both may be negative or None, as in a slice."""
    return keras.tree.map_structure(lambda member: member[start:stop], conditioning)


def where(chosen, conditioning, other):
    """Each row from `conditioning` where `chosen`, else from `other`.

    Args:
        chosen: bool (batch,).
        conditioning, other: conditionings with equal names; either may have a single row, which then stands for all.
    """

    def choose(member, other):
        return ops.where(ops.reshape(chosen, (-1,) + (1,) * (len(other.shape) - 1)), member, other)

    return keras.tree.map_structure(choose, conditioning, other)


def with_null(conditioning, null):
    """The rows of a conditioning, and behind them as many times the single row of the empty prompt.

    A member that no text makes, which is not in `null`, is repeated as it is.
    """

    def join(name, member):
        other = null.get(name, member)
        return ops.concatenate([member, ops.broadcast_to(other, ops.shape(member))])

    return {name: join(name, member) for name, member in conditioning.items()}


def repeated(conditioning, count):
    """The rows of a conditioning `count` times, one whole batch after the other."""
    return keras.tree.map_structure(lambda member: ops.concatenate([member] * count), conditioning)


def replaced(conditioning, members):
    """The conditioning with some members in place of its own, each for the rows of one of its equal parts.

    Args:
        conditioning: of parts * n rows, the first parts of all images in front.
        members: dict of n rows.
    """

    def for_all_parts(name, member):
        return repeated(member, conditioning[name].shape[0] // member.shape[0])

    return {**conditioning, **{name: for_all_parts(name, member) for name, member in members.items()}}


def as_floats(conditioning):
    """Every member as float32, for runtimes whose files take no other type; True becomes 1.0."""
    return keras.tree.map_structure(lambda member: ops.cast(member, "float32"), conditioning)


def from_floats(conditioning, specs):
    """Undoes `as_floats`, by the `keras.InputSpec`s of the members."""

    def restore(member, spec):
        return ops.greater(member, 0.5) if spec.dtype == "bool" else ops.cast(member, spec.dtype)

    return {name: restore(conditioning[name], spec) for name, spec in specs.items()}


def with_batch(specs, batch):
    """`keras.InputSpec`s of the members for a batch of this size."""
    return {name: keras.InputSpec(dtype=spec.dtype, shape=(batch, *spec.shape[1:])) for name, spec in specs.items()}
