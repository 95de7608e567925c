"""Compiling a function of tensors that reads a model's weights, on the backend at hand."""

import keras


def compile_function(function, model):
    """`function` of arrays, compiled; the weights of `model` that it reads may change between calls.

    TensorFlow makes a graph, without XLA: it starts in a fraction of the time, and takes batches of any size. JAX
    compiles once for each shape of the arguments. Where the model has a `revision`, each is compiled for itself.

    Args:
        function: takes and returns (structures of) tensors. Those with axes have the batch in front. It must not branch
            on the values of tensors.
        model: the keras.Model whose variables it reads.
    """
    compiled = {}

    def call(*args, **kwargs):
        revision = getattr(model, "revision", 0)
        if revision not in compiled:
            compiled.clear()
            compiled[revision] = _compile(function, model)
        return compiled[revision](*args, **kwargs)

    return call


def _compile(function, model):
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _for_any_batch(function)
    if backend == "jax":
        import jax

        @jax.jit
        def stateless(values, *args, **kwargs):
            with keras.StatelessScope(state_mapping=list(zip(model.variables, values, strict=True))):
                return function(*args, **kwargs)

        return lambda *args, **kwargs: stateless([variable.value for variable in model.variables], *args, **kwargs)
    return function


def _for_any_batch(function):
    """A graph of TensorFlow, made once for all batch sizes: making it takes as long as several images.

    Where other axes differ, as those of longer prompts do, a second one is made for all lengths.
    """
    import tensorflow as tf

    # Without autograph, which would first rewrite all Python code on the way, that of Keras included.
    traced, known = tf.function(function, autograph=False, reduce_retracing=True), set()

    def call(*args, **kwargs):
        specs, named = tf.nest.map_structure(_any_batch, (args, kwargs))
        key = repr((specs, named))
        if key not in known:
            traced.get_concrete_function(*specs, **named)
            known.add(key)
        return traced(*args, **kwargs)

    return call


def _any_batch(value):
    """What stands for a tensor of any batch size; values of other kinds as they are."""
    import tensorflow as tf

    if not hasattr(value, "dtype"):
        return value
    return tf.TensorSpec([None, *value.shape[1:]] if len(value.shape) else [], value.dtype)
