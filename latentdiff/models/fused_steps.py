"""Several training steps in one compiled call, on JAX.

Keras calls a compiled step of JAX once a batch, and a call costs about 20 microseconds for each of the thousand arrays
of a model and its optimizer: more than a step of a small model takes on a GPU. On TensorFlow Keras does this itself.
"""

import itertools

import keras


def fuse_steps(train_step, num_steps):
    """A training function that takes `num_steps` batches at a time.

    What is left at the end of an epoch, fewer or smaller batches, is compiled once more.

    Args:
        train_step: `(state, data) -> (logs, state)`, as `keras.Model.train_step` on JAX.
        num_steps: int, batches a call.

    Returns:
        `(state, iterator of data) -> (logs of the last step, state)`, which donates the state.

    Raises:
        StopIteration: the iterator is empty.
    """
    import jax

    def scan(state, batches):
        def step(state, data):
            logs, state = train_step(state, data)
            return state, logs

        state, logs = jax.lax.scan(step, state, batches)
        return keras.tree.map_structure(lambda values: values[-1], logs), state

    compiled = None

    def train_function(state, iterator):
        nonlocal compiled
        batches = list(itertools.islice(iterator, num_steps))
        if not batches:
            raise StopIteration
        if compiled is None:
            layouts = jax.tree.map(lambda values: values.sharding, state)  # weights stay where they are
            compiled = jax.jit(scan, donate_argnums=0, out_shardings=(None, layouts))
        for _, alike in itertools.groupby(batches, lambda batch: [values.shape for values in jax.tree.leaves(batch)]):
            logs, state = compiled(state, jax.tree.map(lambda *values: jax.numpy.stack(values), *alike))
        return logs, state

    return train_function
