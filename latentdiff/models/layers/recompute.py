"""Gradient checkpointing: what a block computes inside is computed again for the gradient, and not kept in memory.

`keras.RematScope` would wrap whole layers. It fails on TensorFlow, where `tf.recompute_grad` takes no keyword arguments
in a graph, and on JAX, where a Dropout layer sets its seed inside. Here the wrapped function takes tensors alone, and
its seeds are drawn before.
"""

import keras


def run_block(layer, block, training, *tensors):
    """`block(*tensors)`; while training, with its inner values computed again if `layer.gradient_checkpointing`.

    Args:
        layer: the layer that the block is the call of.
        block: function of float tensors. Whatever else it needs, such as masks and seeds, it must enclose; it must
            change no variable, and read own weights of a layer outside, since TensorFlow computes it again outside
            of the layer's dtype policy.
        training: whether a gradient will be taken.
        tensors: floats.

    Reference: Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016, arXiv:1604.06174.
    """
    return (keras.remat(block) if training and layer.gradient_checkpointing else block)(*tensors)


class DrawnSeed(keras.random.SeedGenerator):
    """One seed that was drawn from another generator: what is computed again draws the same numbers."""

    def __init__(self, generator):
        self._drawn = generator.next()  # no state of its own, so nothing of the base class is set up

    def next(self, ordered=True):
        return self._drawn
