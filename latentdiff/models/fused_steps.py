"""Several training steps in one compiled call, on JAX.

Keras calls a compiled step of JAX once a batch, and a call costs about 20 microseconds for each of the thousand arrays
of a model and its optimizer: more than a step of a small model takes on a GPU. On TensorFlow Keras does this itself.
"""

import itertools


def fuse_steps(train_step, num_steps):
    """A training function that takes `num_steps` batches at a time.

    One program serves any number of batches up to that, such as what is left at the end of an epoch. Batches of another
    size are compiled for themselves.

    Args:
        train_step: `(state, data) -> (logs, state)`, as `keras.Model.train_step` on JAX.
        num_steps: int, batches a call.

    Returns:
        `(state, iterator of data) -> (logs of the last step, state)`, which donates the state.

    Raises:
        StopIteration: the iterator is empty.
    """
    import jax

    step = jax.jit(train_step)  # traced once, for the loop and for what it returns

    def run(state, batches, count):
        first = jax.tree.map(lambda values: values[0], batches)
        logs = jax.tree.map(
            lambda values: jax.numpy.zeros(values.shape, values.dtype), jax.eval_shape(step, state, first)[0]
        )

        def body(index, carried):
            return step(carried[1], jax.tree.map(lambda values: values[index], batches))

        return jax.lax.fori_loop(0, count, body, (logs, state))

    compiled = None

    def train_function(state, iterator):
        nonlocal compiled
        batches = list(itertools.islice(iterator, num_steps))
        if not batches:
            raise StopIteration
        if compiled is None:
            layouts = jax.tree.map(lambda values: values.sharding, state)  # weights stay where they are
            compiled = jax.jit(run, donate_argnums=0, out_shardings=(None, layouts))
            state = jax.device_put(state, layouts)  # or a second program would be made for the state that comes back
        for _, alike in itertools.groupby(batches, lambda batch: [values.shape for values in jax.tree.leaves(batch)]):
            alike = list(alike)
            filled = alike + [alike[-1]] * (num_steps - len(alike))  # one program for any number of batches
            logs, state = compiled(state, jax.tree.map(lambda *values: jax.numpy.stack(values), *filled), len(alike))
        return logs, state

    return train_function
