"""The VAE and the GAN that diffusion is compared with."""

import keras
import numpy as np
import pytest
from harness import compile_quietly, needs_tensorflow, normal, tiny_text_encoder
from keras import ops

from latentdiff.recipes.baselines import gan, networks, vae

SHAPE, FEATURES = (8, 8, 3), 5


def data(count=8):
    return {"latents": normal(0, count, *SHAPE), "features": normal(1, count, FEATURES)}


def test_divergence_is_zero_for_the_prior_and_the_mean_squared_for_a_shift():
    still, shifted = np.zeros((1, 4), "float32"), np.full((1, 4), 2.0, "float32")
    assert float(vae.kl(still, still)[0]) == 0.0
    assert float(vae.kl(shifted, still)[0]) == pytest.approx(0.5 * 4 * 4.0)


@pytest.mark.parametrize("make", [vae.VAE, gan.GAN])
def test_fit_moves_all_parts_and_the_generator_can_be_saved(make, tmp_path):
    model = compile_quietly(make(SHAPE, FEATURES, 16), optimizer=keras.optimizers.Adam(1e-3))
    before = [ops.convert_to_numpy(variable.value) for variable in model.trainable_variables]
    history = model.fit(data(), batch_size=8, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    moved = [
        np.abs(ops.convert_to_numpy(variable.value) - old).max()
        for variable, old in zip(model.trainable_variables, before, strict=True)
    ]
    assert min(moved) > 0
    model.generator.save(tmp_path / "some.keras")
    codes = normal(2, 3, networks.CODE_DIM)
    loaded = keras.saving.load_model(tmp_path / "some.keras")
    drawn = ops.convert_to_numpy(loaded([codes, normal(1, 3, FEATURES)]))
    assert drawn.shape == (3, *SHAPE)
    np.testing.assert_allclose(drawn, model.generator([codes, normal(1, 3, FEATURES)]), atol=1e-5)


@needs_tensorflow
def test_the_generator_does_not_move_the_judge_nor_the_judge_the_generator():
    import tensorflow as tf

    model = gan.GAN(SHAPE, FEATURES, 16)
    batch = {name: tf.constant(values) for name, values in data().items()}
    with tf.GradientTape(persistent=True) as tape:
        answers = model(batch)
    judge, generator = model.judge.trainable_variables, model.generator.trainable_variables
    judge, generator = ([variable.value for variable in variables] for variables in (judge, generator))
    assert all(gradient is None for gradient in tape.gradient(answers["of_made_for_generator"], judge))
    assert all(gradient is None for gradient in tape.gradient(answers["of_made"], generator))
    assert any(gradient is not None for gradient in tape.gradient(answers["of_made_for_generator"], generator))


def test_features_are_those_of_each_caption_alone():
    encoder = tiny_text_encoder()
    some = networks.caption_features(encoder, ["a cat", "red apple", "a cat"])
    assert some.shape == (3, 12) and (some[0] == some[2]).all() and np.abs(some[0] - some[1]).max() > 1e-3
    np.testing.assert_allclose(some[1], networks.caption_features(encoder, ["red apple"])[0], atol=1e-5)
