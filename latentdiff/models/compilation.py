"""Compiling a function of tensors that reads a model's weights, on the backend at hand."""

import keras


def compile_function(function, model):
    """`function` of arrays, compiled; the weights of `model` that it reads may change between calls.

    TensorFlow makes a graph, without XLA: it starts in a fraction of the time, and takes batches of any size. JAX
    compiles once for each shape of the arguments. Where the model has a `revision`, each is compiled for itself.

    Args:
        function: takes and returns (structures of) tensors.
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
        import tensorflow as tf

        return tf.function(function, reduce_retracing=True)
    if backend == "jax":
        import jax

        @jax.jit
        def stateless(values, *args, **kwargs):
            with keras.StatelessScope(state_mapping=list(zip(model.variables, values, strict=True))):
                return function(*args, **kwargs)

        return lambda *args, **kwargs: stateless([variable.value for variable in model.variables], *args, **kwargs)
    return function
