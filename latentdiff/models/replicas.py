"""Training steps that several replicas share, on TensorFlow under `tf.distribute.MirroredStrategy`.

Each replica has its part of the global batch, and all have the same state of random numbers. Drawn by `draw`, the
numbers of all parts together are those that one device would draw for the global batch.
"""

import keras
from keras import ops


def place():
    """Index of the replica that runs this, and how many there are: (0, 1) where the batch is not shared."""
    if keras.backend.backend() != "tensorflow":
        return 0, 1
    import tensorflow as tf

    context = tf.distribute.get_replica_context()  # None outside of a step
    return (0, 1) if context is None else (context.replica_id_in_sync_group, context.num_replicas_in_sync)


def draw(function, shape, seed):
    """Random numbers of a part of the global batch, float32 whatever `floatx` is.

    Args:
        function: such as `keras.random.normal`.
        shape: of the part, the batch in front.
        seed: `keras.random.SeedGenerator`, or int.
    """
    index, count = place()
    if count == 1:
        return function(shape, dtype="float32", seed=seed)
    rows, *rest = shape
    whole = function((count * rows, *rest), dtype="float32", seed=seed)
    return ops.reshape(whole[index * rows : (index + 1) * rows], shape)


def share(loss):
    """The share of this replica in the loss of the global batch: Keras adds the shares up."""
    _, count = place()
    return loss if count == 1 else loss / count
