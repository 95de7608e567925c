"""A discriminator of patches, and the adversarial losses."""

import keras
from keras import ops

from latentdiff.models import dtypes


@keras.saving.register_keras_serializable(package="latentdiff")
class PatchDiscriminator(keras.Model):
    """Classifies every patch of an image: high logits for real, low ones for generated patches.

    Args:
        widths: channels of the strided convolutions; each halves the sides.

    Call arguments:
        images: float (batch, height, width, 3).

    Returns:
        float32 logits (batch, height / 2^n, width / 2^n, 1), n = `len(widths)`.

    Reference: Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, 2017, arXiv:1611.07004.
    """

    def __init__(self, widths=(64, 128, 256), dtype=None, name="discriminator", **kwargs):
        images = keras.Input((None, None, 3), name="images", dtype="float32")
        x = images
        for level, width in enumerate(widths):
            x = keras.layers.Conv2D(
                width, 4, strides=2, padding="same", data_format="channels_last", dtype=dtype, name=f"conv_{level}"
            )(x)
            if level > 0:
                x = keras.layers.GroupNormalization(min(32, width), epsilon=1e-5, dtype=dtype, name=f"norm_{level}")(x)
            x = keras.layers.LeakyReLU(0.2, dtype=dtype, name=f"act_{level}")(x)
        logits = keras.layers.Conv2D(1, 4, padding="same", data_format="channels_last", dtype=dtype, name="conv_out")(x)
        logits = keras.layers.Activation("linear", dtype="float32", name="logits")(logits)
        super().__init__(inputs=images, outputs=logits, name=name, **kwargs)
        self.widths = tuple(widths)
        self._given_dtype = dtypes.given(dtype)
        self.dtype_policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())

    def get_config(self):
        return {"widths": self.widths, "name": self.name, "trainable": self.trainable, **self._given_dtype}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def adversarial_losses(discriminator, images, made):
    """The losses of generator and discriminator in one pass, so that one optimizer can train both.

    The loss of the discriminator stops the gradient at the generated images; the loss of the generator uses the
    discriminator with stopped gradients of its weights. Their sum therefore trains each network by its own loss only.

    Args:
        discriminator: a keras.Model, images -> logits.
        images: float (batch, height, width, 3), real.
        made: float, the same shape, from the generator.

    Returns:
        generator_loss, discriminator_loss: float32 scalars, both hinge losses.

    Reference: Lim and Ye, Geometric GAN, 2017, arXiv:1705.02894.
    """
    frozen = [(variable, ops.stop_gradient(variable.value)) for variable in discriminator.variables]
    with keras.StatelessScope(state_mapping=frozen):
        generator_loss = -ops.mean(discriminator(made))
    real_logits = discriminator(ops.stop_gradient(images))
    made_logits = discriminator(ops.stop_gradient(made))
    discriminator_loss = (ops.mean(ops.relu(1.0 - real_logits)) + ops.mean(ops.relu(1.0 + made_logits))) / 2.0
    return generator_loss, discriminator_loss


def balance_gradients(images, weight):
    """Two copies of `images` whose gradients are scaled to the same length before they are added.

    One copy goes into the reconstruction loss, the other into the adversarial loss. On the way back the gradient of the
    second is scaled to `weight` times the length of the first: the adaptive weight of VQGAN, measured at the decoder's
    output as in EnCodec, which costs no second pass through the decoder's last layer.

    Args:
        images: float (batch, height, width, 3).
        weight: length of the adversarial gradient, relative to that of the reconstruction; 0 switches it off.

    Returns:
        for_reconstruction, for_adversary: the same values twice.

    Reference: Esser et al., Taming Transformers, 2021, arXiv:2012.09841, equation 7; Defossez et al., High Fidelity
    Neural Audio Compression, 2022, arXiv:2210.13438, section 3.4.
    """

    @ops.custom_gradient
    def split(inputs, weight):
        def backward(*upstream):  # TensorFlow passes two gradients, JAX one pair of them
            of_reconstruction, of_adversary = upstream if len(upstream) == 2 else upstream[0]
            length = ops.sqrt(ops.sum(ops.square(of_reconstruction)))
            scale = weight * length / (ops.sqrt(ops.sum(ops.square(of_adversary))) + 1e-12)
            return of_reconstruction + scale * of_adversary, ops.zeros_like(weight)

        return (inputs + 0.0, inputs + 0.0), backward

    return split(images, ops.cast(weight, images.dtype))


class Adversary(keras.layers.Layer):
    """The discriminator that a decoder is trained against: from which step on, and with which weight.

    Args:
        discriminator: a keras.Model, images -> logits.
        weight: see `balance_gradients`.
        start: training step from which the decoder gets its gradient; the discriminator is trained from the beginning.
    """

    def __init__(self, discriminator, weight=1.0, start=0, **kwargs):
        super().__init__(**kwargs)
        self.discriminator = discriminator
        self.weight = weight
        self.start = start
        self.steps = self.add_weight(name="steps", shape=(), initializer="zeros", dtype="int32", trainable=False)
        self.built = True

    def split(self, made, training):
        """`balance_gradients` of the generated images, with weight 0 before the start; counts the training steps."""
        heard = ops.cast(self.steps >= self.start, "float32")
        if training:
            self.steps.assign_add(1)
        return balance_gradients(made, self.weight * heard)

    def losses_of(self, images, made):
        """See `adversarial_losses`."""
        return adversarial_losses(self.discriminator, images, made)
