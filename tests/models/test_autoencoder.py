import keras
import numpy as np
import pytest
from golden import weights
from harness import (
    GOLDEN,
    arrays,
    assert_close,
    check_bfloat16,
    check_compiled,
    check_config,
    check_save,
    compile_quietly,
    largest_change,
    needs_tensorflow,
    normal,
    randomize,
    tiny_autoencoder,
)
from keras import ops

from latentdiff import Autoencoder
from latentdiff.convert import names
from latentdiff.models.losses import PatchDiscriminator

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype="uint8")


def deeper(**changes):
    return tiny_autoencoder(**{"widths": (8, 8), "patch_size": 2, "middle_attention": True, **changes})


def fit(model, images=IMAGES, **kwargs):
    return model.fit(images, **{"batch_size": 2, "shuffle": False, "verbose": 0, **kwargs}).history


# === Contract ===


@pytest.mark.parametrize(
    "changes", [{}, {"patch_size": 1, "middle_attention": False, "latent_noise": 0.3, "trainable": False}]
)
def test_config(changes):
    model = deeper(**changes)
    copy = check_config(model)
    assert [variable.shape for variable in copy.weights] == [variable.shape for variable in model.weights]
    assert len(copy.trainable_variables) == len(model.trainable_variables)
    assert bool(copy.trainable_variables) == changes.get("trainable", True)


def test_save(tmp_path):
    model = randomize(deeper())
    model.measure_latents(IMAGES)
    loaded = check_save(model, lambda model: model(IMAGES), tmp_path)
    assert_close(loaded.encode(IMAGES), model.encode(IMAGES), 1e-6)


def test_bfloat16():
    check_bfloat16(lambda dtype: deeper(dtype=dtype), lambda model: model(IMAGES))


@pytest.mark.slow
def test_compiled_equals_eager():
    model = randomize(tiny_autoencoder())
    check_compiled(lambda images: model.decode(model.encode(images)), model, normal(0, 2, 8, 8, 3), tolerance=2e-5)


@pytest.mark.parametrize(
    "widths, patch_size, factor", [((8,), 2, 2), ((8, 8), 1, 2), ((8, 8), 2, 4), ((8, 8, 8), 2, 8)]
)
def test_shapes(widths, patch_size, factor):
    model = tiny_autoencoder(widths=widths, patch_size=patch_size)
    assert model.downsampling == factor
    images = np.zeros((2, 2 * factor, 3 * factor, 3), "uint8")
    latents = model.encode(images)
    assert latents.shape == (2, 2, 3, 3)
    assert model.decode(latents).shape == images.shape


@pytest.mark.parametrize("shape", [(1, 10, 8, 3), (1, 8, 9, 3)])
def test_sides_must_be_divisible(shape):
    model = deeper()
    for function in (model, model.encode, model.measure_latents):
        with pytest.raises(ValueError, match="`images` must have sides divisible by 4. Received: images.shape="):
            function(np.zeros(shape, "uint8"))


def test_adversarial_weight_needs_a_discriminator():
    with pytest.raises(ValueError, match="`discriminator` must be a model.*Received"):
        tiny_autoencoder(adversarial_weight=0.5).compile()


# === Laws ===


def test_whole_numbers_and_floats_are_the_same_picture():
    model = randomize(tiny_autoencoder())
    assert_close(model.encode(IMAGES), model.encode(IMAGES.astype("float32") / 127.5 - 1.0), 1e-5)
    assert_close(model({"images": IMAGES}), model(IMAGES), 1e-6)


def test_measured_latents_have_mean_0_and_deviation_1():
    model = randomize(tiny_autoencoder())
    images = np.random.default_rng(1).integers(0, 256, (10, 8, 8, 3), dtype="uint8")
    before = arrays(model.encode(images))
    assert np.abs(before.mean(axis=(0, 1, 2))).max() > 0.05
    model.measure_latents(images, batch_size=4)  # the last batch is smaller
    latents = arrays(model.encode(images))
    np.testing.assert_allclose(latents.mean(axis=(0, 1, 2)), 0.0, atol=1e-5)
    np.testing.assert_allclose(latents.std(axis=(0, 1, 2)), 1.0, atol=1e-5)
    # Measuring is undone inside decode, and measuring again changes nothing.
    assert_close(model.decode(latents), model.decoder(before), 1e-4)
    model.measure_latents(images)
    assert_close(model.encode(images), latents, 1e-5)


@pytest.mark.parametrize("value", [0.0, 0.3, 700.1])
def test_a_channel_without_variance_has_latents_too(value):
    model = randomize(tiny_autoencoder())
    kernel, bias = model.encoder.variables[-2:]
    kernel.assign(arrays(kernel) * np.float32([0, 1, 1, 1, 1, 1]))
    bias.assign(np.float32([value, 0, 0, 0, 0, 0]))
    model.measure_latents(IMAGES)
    latents = arrays(model.encode(IMAGES))
    np.testing.assert_allclose(latents[..., 0], 0.0, atol=1e-3)
    np.testing.assert_allclose(latents[..., 1:].std(axis=(0, 1, 2)), 1.0, atol=1e-5)


def test_posterior_samples_have_its_mean_and_deviation():
    model = randomize(tiny_autoencoder())
    model.measure_latents(IMAGES)
    mean = arrays(model.encode(IMAGES))
    log_variance = arrays(model.encoder(IMAGES / np.float32(127.5) - 1))[..., 3:]
    repeated = np.tile(IMAGES, (64, 1, 1, 1))
    draws = arrays(model.encode(repeated, sample=True, seed=1)).reshape(64, *mean.shape)
    std = np.exp(0.5 * log_variance) / arrays(model.latent_std)
    scores = (draws - mean) / std
    assert abs(scores.mean()) < 5 / np.sqrt(scores.size)
    assert abs(scores.std() - 1) < 5 / np.sqrt(2 * scores.size)


def test_latent_noise_is_even_in_strength_and_relative_to_each_channel():
    latents = normal(0, 400, 16, 16, 3) * np.float32([0.5, 1.0, 4.0])
    noise = arrays(tiny_autoencoder(latent_noise=0.6)._noise_like(latents))
    noise = noise / latents.std(axis=(0, 1, 2))
    assert_close(noise.std(axis=(0, 1, 2)), np.full(3, 0.6 / np.sqrt(3)), 0.03)
    strength = noise.std(axis=(1, 2, 3))  # uniform in [0, 0.6], measured on 768 numbers each
    assert strength.max() < 0.6 * (1 + 5 / np.sqrt(2 * 768))
    assert abs(strength.mean() - 0.3) < 5 * 0.6 / np.sqrt(12 * 400)
    assert abs(strength.std() - 0.6 / np.sqrt(12)) < 0.02


@needs_tensorflow
def test_larger_latents_do_not_help_against_latent_noise():
    """Nor does their gradient say so: it would let them grow without end."""
    import tensorflow as tf

    model, latents, weights = tiny_autoencoder(latent_noise=0.6), normal(0, 2, 4, 4, 3), normal(1, 2, 4, 4, 3)
    scale = tf.Variable(1.5)
    with tf.GradientTape() as tape:
        scaled = scale * latents
        noise = model._noise_like(scaled)
        seen = (scaled + noise) / ops.std(scaled, axis=(0, 1, 2))
        value = tf.reduce_sum(weights * seen)
    assert np.abs(arrays(noise)).max() > 0.1
    assert abs(float(tape.gradient(value, scale))) < 1e-4
    blank = tf.Variable(tf.zeros((2, 4, 4, 3)))
    with tf.GradientTape() as tape:
        noise = model._noise_like(blank)
    assert np.isfinite(arrays(tape.gradient(noise, blank))).all()


def test_latent_noise_is_for_training_only():
    """Without the noise the decoder sees a sample of the posterior; the share of the noise in the rest is known."""
    model = tiny_autoencoder(latent_noise=0.6)
    seen = []
    decode = model.decoder.call
    model.decoder.call = lambda latents, **kwargs: seen.append(arrays(latents)) or decode(latents, **kwargs)
    mean, log_variance = np.split(arrays(model.encoder(IMAGES / np.float32(127.5) - 1)), 2, axis=-1)
    model(IMAGES)
    np.testing.assert_allclose(seen.pop(), mean, atol=1e-5)
    model(np.repeat(IMAGES, 200, axis=0), training=True)
    draws = seen.pop() - np.repeat(mean, 200, axis=0)  # (800, h, w, c), of another strength each
    variance = np.exp(log_variance) + 0.6**2 / 3 * mean.std(axis=(0, 1, 2)) ** 2
    assert abs((draws**2 / np.repeat(variance, 200, axis=0)).mean() - 1) < 5 * np.sqrt(0.8 / len(draws))


def test_kl_is_the_closed_form():
    """KL of N(m, s^2) from N(0, 1), by numerical integration."""
    model = randomize(tiny_autoencoder(kl_weight=2.0))
    model(IMAGES)
    moments = arrays(model.encoder(IMAGES / np.float32(127.5) - 1)).astype("float64")
    mean, std = moments[..., :3].ravel(), np.exp(0.5 * moments[..., 3:]).ravel()
    grid, step = np.linspace(-12, 12, 4001, retstep=True)
    points = mean[:, None] + std[:, None] * grid  # (numbers, grid)
    log_ratio = (points**2 - grid**2) / 2 - np.log(std)[:, None]
    kl = (np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi) * log_ratio).sum(axis=1) * step
    assert_close(sum(model.losses), 2.0 * kl.mean(), 1e-4)


@pytest.mark.parametrize("kl_weight, perceptual_weight", [(0.0, 0.0), (0.1, 0.0), (0.1, 2.0)])
def test_loss_is_the_sum_of_its_switched_on_parts(kl_weight, perceptual_weight):
    model = randomize(tiny_autoencoder(pixel_weight=3.0, kl_weight=kl_weight, perceptual_weight=perceptual_weight))

    def perceptual_loss(images, made):
        return ops.mean(ops.square(images - made), axis=(1, 2, 3))

    compile_quietly(model, perceptual_loss=perceptual_loss)
    logs = model.evaluate(IMAGES, batch_size=4, verbose=0, return_dict=True)
    difference = IMAGES / 127.5 - 1 - arrays(model(IMAGES))
    parts = {
        "pixel": 3.0 * np.abs(difference).mean(),
        "kl": arrays(sum(model.losses)) if kl_weight else 0.0,
        "perceptual": perceptual_weight * (difference**2).mean(),
    }
    switched_on = {"pixel": True, "kl": bool(kl_weight), "perceptual": bool(perceptual_weight)}
    assert set(logs) == {"loss", *(name for name, on in switched_on.items() if on)}
    parts = {name: value for name, value in parts.items() if switched_on[name]}
    for name, value in parts.items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(logs["loss"], sum(parts.values()), rtol=1e-4)


@pytest.mark.slow
def test_fit_learns():
    model = tiny_autoencoder(kl_weight=1e-6)
    jit = {"jit_compile": False} if keras.backend.backend() == "tensorflow" else {}
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), **jit)
    losses = fit(model, batch_size=4, epochs=40)["loss"]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.slow
def test_fit_compiled():
    """The graph that `fit` makes takes the same step as eager code."""
    images, changed = IMAGES[:2], []
    for eager in (True, False):
        model = randomize(tiny_autoencoder(kl_weight=0.1))
        jit = {"jit_compile": False} if keras.backend.backend() == "tensorflow" else {}
        model.compile(keras.optimizers.SGD(0.1), run_eagerly=eager, **jit)
        fit(model, images)
        changed.append(model.get_weights())
    assert_close(*changed, 1e-4)


def test_adversary_is_heard_from_its_start():
    weights_after = []
    for adversarial_weight, start in ((0.0, 0), (0.5, 1), (0.5, 0)):
        model = randomize(tiny_autoencoder(adversarial_weight=adversarial_weight, kl_weight=0.0))
        discriminator = randomize(PatchDiscriminator((4,)), seed=3)
        before = discriminator.get_weights()
        compile_quietly(
            model, optimizer=keras.optimizers.SGD(0.1), discriminator=discriminator, adversarial_start=start
        )
        history = fit(model, batch_size=4)
        weights_after.append(np.concatenate([value.ravel() for value in model.decoder.get_weights()]))
        moved = largest_change(before, discriminator.get_weights())
        assert (moved > 1e-4) == bool(adversarial_weight)
        assert ("discriminator" in history) == bool(adversarial_weight)
        assert not adversarial_weight or history["discriminator"][0] > 0
    silent, waiting, heard = weights_after
    np.testing.assert_allclose(waiting, silent, atol=1e-6)
    assert np.abs(heard - silent).max() > 1e-4


def test_measuring_networks_are_not_saved(tmp_path):
    model = tiny_autoencoder(perceptual_weight=1.0)
    names = {variable.path for variable in model.variables}
    network = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3)])
    compile_quietly(model, perceptual_loss=lambda one, other: ops.mean(ops.abs(network(one) - network(other))))
    assert {variable.path for variable in model.variables} - names <= {v.path for v in model.optimizer.variables}
    assert len(model.trainable_variables) == len(tiny_autoencoder().trainable_variables)


# === Golden ===


def test_diffusers():
    """Stable Diffusion's autoencoder in small, with equal weights."""
    with np.load(GOLDEN / "networks.npz") as file:
        golden = dict(file)
    model = Autoencoder(4, (16, 32, 32), num_blocks=1, groups=8)
    filled = weights.fill(model.encoder, lambda path: names.autoencoder_name("encoder", path, levels=3))
    filled += weights.fill(model.decoder, lambda path: names.autoencoder_name("decoder", path, levels=3))
    assert sorted(filled) == golden["autoencoder_names"].tolist()
    np.testing.assert_allclose(arrays(model.encoder(golden["images"])), golden["moments"], atol=1e-4)
    np.testing.assert_allclose(arrays(model.encode(golden["images"])), golden["moments"][..., :4], atol=1e-4)
    np.testing.assert_allclose(arrays(model.decode(golden["latents"])), golden["decoded"], atol=1e-4)
    assert golden["moments"].std() > 0.1 and golden["decoded"].std() > 0.1


# === Images as `fit` takes them ===


class Halves(keras.utils.PyDataset):
    """Six images in two batches, as a dataset of dicts."""

    def __init__(self, images):
        super().__init__()
        self.images = images

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return {"images": self.images[3 * index : 3 * index + 3]}


def test_latents_are_measured_on_whatever_fit_takes():
    model = randomize(tiny_autoencoder())
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), "uint8")
    kinds = [images, list(images), {"images": images}, Halves(images), iter([images[:4], images[4:]])]
    found = []
    for kind in kinds:
        model.measure_latents(kind)
        found.append(np.concatenate([model.latent_mean, model.latent_std]))
    for values in found[1:]:
        np.testing.assert_allclose(values, found[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("images", [np.zeros((0, 8, 8, 3), "uint8"), [], iter([])])
def test_no_images_have_no_latents(images):
    model = tiny_autoencoder()
    with pytest.raises(ValueError, match="`images` must hold at least one image"):
        model.measure_latents(images)
    np.testing.assert_array_equal(model.latent_mean, np.zeros(3))


def test_floats_of_another_range_are_refused_or_suspicious():
    model = compile_quietly(tiny_autoencoder())
    levels = np.random.default_rng(0).uniform(0, 1, (4, 8, 8, 3)).astype("float32")
    for take in (model.fit, model.evaluate, model.predict, model.measure_latents):
        with pytest.raises(ValueError, match=r"`images` must be uint8 in \[0, 255\] or float in \[-1, 1\]"):
            take(255 * levels)
    with pytest.warns(UserWarning, match=r"must be in \[-1, 1\]; these are in"):
        model.evaluate(levels, verbose=0)


def test_only_losses_that_are_on_have_a_column():
    model = compile_quietly(tiny_autoencoder(kl_weight=0.0))
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), "uint8")
    history = model.fit(list(images), epochs=1, verbose=0).history
    assert set(history) == {"loss", "pixel"} and history["pixel"] == pytest.approx(history["loss"])


def test_a_perceptual_weight_without_a_loss_is_told():
    with pytest.warns(UserWarning, match="`perceptual_weight` 0.3 has no effect: `compile` got no `perceptual_loss`"):
        tiny_autoencoder(perceptual_weight=0.3).compile()


@pytest.mark.parametrize("weight, expected", [(None, 0.5), (0.25, 0.25)])
def test_the_perceptual_weight_is_half_unless_asked_for(weight, expected):
    model = tiny_autoencoder(perceptual_weight=weight)
    model.compile(perceptual_loss=lambda images, made: keras.ops.ones((1,)))
    model.test_on_batch({"images": np.zeros((1, 8, 8, 3), "float32")})
    assert float(model.trackers["perceptual"].result()) == expected
    assert model.get_config()["perceptual_weight"] == weight
