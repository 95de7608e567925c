import keras
import numpy as np
import pytest
from harness import arrays, assert_close, check_bfloat16, check_config, check_save, normal, randomize
from keras import ops

from latentdiff.models.losses import Adversary, PatchDiscriminator, adversarial_losses, balance_gradients

REAL, MADE = normal(0, 2, 8, 8, 3), normal(1, 2, 8, 8, 3)


def gradients(function, *values):
    """Gradients of a scalar function with respect to arrays, on the backend at hand."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tensors = [tf.convert_to_tensor(value) for value in values]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            result = function(*tensors)
        found = tape.gradient(result, tensors, unconnected_gradients="zero")
    else:
        import jax

        found = jax.grad(function, argnums=tuple(range(len(values))))(*map(ops.convert_to_tensor, values))
    return [arrays(gradient) for gradient in found]


def stateless(discriminator, function):
    """`function` with the discriminator's weights as its first argument, in one flat tensor."""
    shapes = [variable.shape for variable in discriminator.trainable_variables]
    sizes = [int(np.prod(shape)) for shape in shapes]

    def call(flat, *args):
        parts = ops.split(flat, np.cumsum(sizes)[:-1].tolist())
        values = [ops.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]
        pairs = list(zip(discriminator.trainable_variables, values, strict=True))
        with keras.StatelessScope(state_mapping=pairs):
            return function(*args)

    return call, np.concatenate([arrays(v.value).ravel() for v in discriminator.trainable_variables])


# === Contract ===


def test_discriminator(tmp_path):
    discriminator = randomize(PatchDiscriminator((4, 8)))
    check_config(discriminator)
    check_save(discriminator, lambda model: model(REAL), tmp_path)
    check_bfloat16(lambda dtype: PatchDiscriminator((4, 8), dtype=dtype), lambda model: model(REAL))


@pytest.mark.parametrize("widths, side", [((4,), 8), ((4, 8), 4), ((4, 8, 8), 2)])
def test_one_logit_a_patch(widths, side):
    assert PatchDiscriminator(widths)(np.zeros((2, 16, 16, 3), "float32")).shape == (2, side, side, 1)


# === Laws ===


def test_hinge_losses():
    discriminator = randomize(PatchDiscriminator((4,)), scale=1.0)
    generator_loss, discriminator_loss = arrays(adversarial_losses(discriminator, REAL, MADE))
    real, made = arrays(discriminator(REAL)), arrays(discriminator(MADE))
    np.testing.assert_allclose(generator_loss, -made.mean(), rtol=1e-5)
    expected = (np.maximum(1 - real, 0).mean() + np.maximum(1 + made, 0).mean()) / 2
    np.testing.assert_allclose(discriminator_loss, expected, rtol=1e-5)
    assert (real > 1).any() and (made < -1).any()  # both corners of the hinge are in play


def test_each_player_is_moved_by_its_own_loss_alone():
    discriminator = randomize(PatchDiscriminator((4, 8)))

    def losses(images, made):
        return adversarial_losses(discriminator, images, made)

    both, flat = stateless(discriminator, lambda images, made: sum(losses(images, made)))
    generator_only, _ = stateless(discriminator, lambda images, made: -ops.mean(discriminator(made)))
    discriminator_only, _ = stateless(discriminator, lambda images, made: losses(images, made)[1])
    of_weights, of_images, of_made = gradients(both, flat, REAL, MADE)
    assert_close(of_weights, gradients(discriminator_only, flat, REAL, MADE)[0], 1e-6)
    assert_close(of_made, gradients(generator_only, flat, REAL, MADE)[2], 1e-6)
    np.testing.assert_array_equal(of_images, 0.0)
    assert np.abs(of_weights).max() > 1e-3 and np.abs(of_made).max() > 1e-5
    # The discriminator's own loss says nothing to the generator.
    np.testing.assert_array_equal(gradients(discriminator_only, flat, REAL, MADE)[2], 0.0)


@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_balanced_gradients(weight, size):
    """The gradient of the second use is `weight` times as long as the first's, however large its loss is."""
    first, second = normal(2, 2, 8, 8, 3), normal(3, 2, 8, 8, 3)

    def losses(images):
        for_reconstruction, for_adversary = balance_gradients(images, weight)
        return ops.sum(first * for_reconstruction) + size * ops.sum(second * for_adversary)

    (gradient,) = gradients(losses, MADE)
    added = weight * np.linalg.norm(first) / np.linalg.norm(second) * second
    np.testing.assert_allclose(gradient, first + added, rtol=1e-4, atol=1e-5)
    for copy in balance_gradients(MADE, weight):
        np.testing.assert_array_equal(arrays(copy), MADE)


def test_no_adversarial_gradient_gives_no_nan():
    def loss(images):
        for_reconstruction, for_adversary = balance_gradients(images, 1.0)
        return ops.sum(for_reconstruction) + 0.0 * ops.sum(for_adversary)

    np.testing.assert_allclose(gradients(loss, MADE)[0], 1.0)


@pytest.mark.parametrize("start", [0, 2])
def test_adversary_counts_training_steps(start):
    adversary = Adversary(PatchDiscriminator((4,)), weight=1.0, start=start)

    def length(images):
        for_reconstruction, for_adversary = adversary.split(images, training=False)
        return ops.sum(for_reconstruction) + ops.sum(for_adversary)

    for step in range(4):
        heard = 2.0 if step >= start else 1.0
        np.testing.assert_allclose(gradients(length, MADE)[0], heard, rtol=1e-5)
        adversary.split(MADE, training=True)
    assert int(adversary.steps.value) == 4
