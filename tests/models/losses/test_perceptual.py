import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from latentdiff.models.losses import LPIPS, PerceptualLoss, alexnet_features

WIDTHS = [4, 6, 5, 3, 2]
KERNELS = [11, 5, 3, 3, 3]


@pytest.fixture
def small_file(tmp_path):
    """AlexNet with a few channels and random weights, in the real file's format."""
    rng = np.random.default_rng(0)
    arrays, channels = {}, 3
    for i, (width, kernel) in enumerate(zip(WIDTHS, KERNELS, strict=True)):
        scale = (kernel * kernel * channels) ** -0.5
        arrays[f"conv{i}/kernel"] = (rng.normal(size=(kernel, kernel, channels, width)) * scale).astype("float16")
        arrays[f"conv{i}/bias"] = rng.normal(size=width).astype("float32") * 0.3
        arrays[f"head{i}"] = rng.uniform(size=width).astype("float32")
        channels = width
    path = tmp_path / "small.npz"
    np.savez(path, **arrays)
    return path


def random_images(seed, size=40, batch=2):
    return np.random.default_rng(seed).uniform(-1, 1, (batch, size, size, 3)).astype("float32")


# === An independent implementation, one output position at a time ===


def numpy_conv(x, kernel, bias, stride, padding):
    x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    size, out = kernel.shape[0], (x.shape[0] - kernel.shape[0]) // stride + 1
    y = np.empty((out, out, kernel.shape[-1]))
    for i in range(out):
        for j in range(out):
            patch = x[i * stride : i * stride + size, j * stride : j * stride + size]
            y[i, j] = np.einsum("ijc,ijcd->d", patch, kernel) + bias
    return np.maximum(y, 0)


def numpy_pool(x):
    out = (x.shape[0] - 3) // 2 + 1
    return np.array([[x[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((0, 1)) for j in range(out)] for i in range(out)])


def numpy_alexnet(image, arrays):
    x = (image.astype("float64") - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
    maps = []
    for i, (stride, padding) in enumerate([(4, 2), (1, 2), (1, 1), (1, 1), (1, 1)]):
        x = numpy_pool(x) if i in (1, 2) else x
        x = numpy_conv(x, arrays[f"conv{i}/kernel"].astype("float64"), arrays[f"conv{i}/bias"], stride, padding)
        maps.append(x)
    return maps


def numpy_lpips(image_a, image_b, arrays):
    total = 0.0
    for i, maps in enumerate(zip(numpy_alexnet(image_a, arrays), numpy_alexnet(image_b, arrays), strict=True)):
        a, b = (x / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-10) for x in maps)
        total += ((a - b) ** 2 @ arrays[f"head{i}"]).mean()
    return total


def test_alexnet_features_agree_with_numpy(small_file):
    images = random_images(0)
    maps = alexnet_features(small_file)(images)
    expected = numpy_alexnet(images[1], np.load(small_file))
    assert [tuple(x.shape[1:]) for x in maps] == [(9, 9, 4), (4, 4, 6), (1, 1, 5), (1, 1, 3), (1, 1, 2)]
    for x, y in zip(maps, expected, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(x)[1], y, atol=2e-5)


def test_lpips_agrees_with_numpy(small_file):
    a, b = random_images(1, size=64), random_images(2, size=64)
    distances = ops.convert_to_numpy(LPIPS(small_file)(a, b))
    arrays = np.load(small_file)
    expected = [numpy_lpips(x, y, arrays) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(distances, expected, rtol=1e-4)


# === Laws ===


def test_lpips_is_zero_for_the_same_picture_and_symmetric(small_file):
    lpips, a, b = LPIPS(small_file), random_images(1), random_images(2)
    np.testing.assert_array_equal(ops.convert_to_numpy(lpips(a, a)), 0)
    forth, back = ops.convert_to_numpy(lpips(a, b)), ops.convert_to_numpy(lpips(b, a))
    assert forth.shape == (2,) and forth.min() > 0
    np.testing.assert_allclose(forth, back, rtol=1e-6)


class Shift(keras.Model):
    """Adds one trained number to its images; its loss is a perceptual one."""

    def __init__(self, distance):
        super().__init__()
        self.distance = distance
        self.shift = self.add_weight(shape=(), initializer="zeros", dtype="float32")

    def call(self, images):
        return images + self.shift

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(self.distance(x, y_pred)) + ops.mean(self.distance(x, x))


@pytest.fixture
def policy():
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["float32", "mixed_bfloat16"])
def test_gradients_reach_the_pictures_and_nothing_is_tracked(small_file, tmp_path, policy, name):
    policy(name)
    model = Shift(LPIPS(small_file))
    assert model.distance.features.layers[-1].compute_dtype == "float32"
    model(random_images(0))
    model.shift.assign(0.5)
    model.compile("sgd", jit_compile=True)
    losses = model.fit(random_images(0), epochs=2, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[1] < losses[0]
    assert [v.path for v in model.variables if "optimizer" not in v.path][0].startswith("shift")
    assert model.count_params() == 1
    path = tmp_path / "shift.weights.h5"
    model.save_weights(path)
    assert path.stat().st_size < 40_000
    model.load_weights(path)


def test_features_of_zero_length_give_finite_gradients(tmp_path):
    images = keras.layers.Input((None, None, 3))
    dead = keras.layers.Conv2D(2, 1, activation="relu", bias_initializer=keras.initializers.Constant(-9))(images)
    model = Shift(PerceptualLoss(keras.Model(images, dead)))
    model(random_images(0))
    model.compile("sgd")
    model.fit(random_images(0), verbose=0)
    assert float(model.shift) == 0.0


def test_perceptual_loss_by_hand():
    images = keras.layers.Input((1, 2, 3))
    first = keras.layers.Lambda(lambda x: x[..., :2])(images)
    second = keras.layers.Lambda(lambda x: ops.sum(x, axis=(1, 2)))(images)
    model = keras.Model(images, {"first": first, "second": second})
    a = np.array([[[[3, 4, 0], [1, 0, 0]]]], "float32")
    b = np.array([[[[3, 4, 9], [0, 2, 0]]]], "float32")
    # First map: (0.6, 0.8) twice, then (1, 0) against (0, 1): squared distances 0 and 2, mean 1.
    # Second map: (4, 4, 0) against (3, 6, 9): 2 - 2 cos, cos = 36 / sqrt(32 * 126).
    level_1, level_2 = 1.0, 2 - 2 * 36 / np.sqrt(32 * 126)
    value = ops.convert_to_numpy(PerceptualLoss(model)(a, b))
    np.testing.assert_allclose(value, [(level_1 + level_2) / 2], rtol=1e-5)
    value = ops.convert_to_numpy(PerceptualLoss(model, weights=[3, 1])(a, b))
    np.testing.assert_allclose(value, [0.75 * level_1 + 0.25 * level_2], rtol=1e-5)


# === Contract ===


def test_lpips_config(small_file):
    lpips = LPIPS(small_file, dtype="mixed_bfloat16")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(lpips))
    assert again.get_config() == lpips.get_config() == {"path": str(small_file), "dtype": "mixed_bfloat16"}
    a, b = random_images(1), random_images(2)
    np.testing.assert_array_equal(ops.convert_to_numpy(lpips(a, b)), ops.convert_to_numpy(again(a, b)))
    np.testing.assert_allclose(
        ops.convert_to_numpy(lpips(a, b)), ops.convert_to_numpy(LPIPS(small_file)(a, b)), rtol=0.1
    )


def test_errors(small_file, tmp_path):
    with pytest.raises(ValueError, match="`path`.*Received: path=.*nowhere"):
        LPIPS(tmp_path / "nowhere.npz")
    (tmp_path / "text.npz").write_text("not a zip file")
    with pytest.raises(ValueError, match="`path`.*text.npz"):
        LPIPS(tmp_path / "text.npz")
    arrays = dict(np.load(small_file))
    np.savez(tmp_path / "headless.npz", **{name: x for name, x in arrays.items() if "head" not in name})
    alexnet_features(tmp_path / "headless.npz")
    with pytest.raises(ValueError, match="'head0'"):
        LPIPS(tmp_path / "headless.npz")
    np.savez(tmp_path / "narrow.npz", **(arrays | {"conv1/kernel": arrays["conv1/kernel"][:, :, :-1]}))
    with pytest.raises(ValueError, match="`path`.*'conv1/kernel' of shape"):
        alexnet_features(tmp_path / "narrow.npz")
    lpips = LPIPS(small_file)
    with pytest.raises(ValueError, match="32 pixels or more.*images_a.shape"):
        lpips(random_images(0, size=16), random_images(0, size=16))
    with pytest.raises(ValueError, match="same shape"):
        lpips(random_images(0, size=40), random_images(0, size=48))
    with pytest.raises(ValueError, match="`weights` must be 5 numbers.*Received: weights"):
        PerceptualLoss(lpips.features, weights=[1, 2])


# === Golden: the published weights, where they are at hand ===


def pattern(size, phase=0.0):
    y, x = np.mgrid[:size, :size] / size
    rings = np.sin(20 * np.hypot(x - 0.4, y - 0.55) + phase)
    return np.stack([rings, np.cos(9 * x + phase), np.sin(7 * y + 5 * x * y)], axis=-1)[None].astype("float32")


@pytest.mark.skipif("LATENTDIFF_METRICS" not in os.environ, reason="needs the LPIPS weight file")
def test_published_weights():
    folder = Path(os.environ["LATENTDIFF_METRICS"])
    expected = json.loads((folder / "expected.json").read_text())
    lpips, a, b = LPIPS(folder / "lpips_alexnet_f16.npz"), pattern(128), pattern(128, 0.7)
    for other, name in [(b, "lpips_phase"), (a[:, ::-1], "lpips_flipped"), (a, "lpips_same")]:
        np.testing.assert_allclose(ops.convert_to_numpy(lpips(a, other)), [expected[name]], atol=1e-5)
