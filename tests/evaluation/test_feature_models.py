import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from latentdiff.evaluation import efficientnet_lite0, load_feature_model

# Kernel size, stride, output channels and repeats of the stages, with channels much fewer than the real ones.
SMALL_STAGES = [(3, 1, 3, 1), (3, 2, 4, 2), (5, 2, 2, 2), (3, 2, 3, 3), (5, 1, 4, 3), (5, 2, 3, 4), (3, 1, 5, 1)]


@pytest.fixture
def small_file(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}

    def add(name, *shape, depthwise=False):
        arrays[f"{name}/kernel"] = (rng.normal(size=shape) * np.prod(shape[:3]) ** -0.5 * 2).astype("float16")
        channels = shape[2] if depthwise else shape[3]
        for part in ("gamma", "variance"):
            arrays[f"{name}/norm/{part}"] = rng.uniform(0.5, 1.5, channels).astype("float32")
        for part in ("beta", "mean"):
            arrays[f"{name}/norm/{part}"] = rng.normal(0.3, 0.3, channels).astype("float32")

    add("stem", 3, 3, 3, 4)
    channels, block = 4, 0
    for stage, (kernel, _, filters, repeats) in enumerate(SMALL_STAGES):
        for _ in range(repeats):
            inner = channels if stage == 0 else 2 * channels
            if stage > 0:
                add(f"block{block}/expand", 1, 1, channels, inner)
            add(f"block{block}/depthwise", kernel, kernel, inner, 1, depthwise=True)
            add(f"block{block}/project", 1, 1, inner, filters)
            channels, block = filters, block + 1
    add("head", 1, 1, channels, 6)
    path = tmp_path / "small.npz"
    np.savez(path, **arrays)
    return path


def numpy_conv(x, arrays, name, stride, relu):
    """Convolution, normalization and relu6 apart, one output position at a time; pads as little as "same" does."""
    kernel = arrays[f"{name}/kernel"].astype("float64")
    gamma, beta, mean, variance = (arrays[f"{name}/norm/{part}"] for part in ("gamma", "beta", "mean", "variance"))
    size, out = kernel.shape[0], -(-x.shape[0] // stride)
    padding = max((out - 1) * stride + size - x.shape[0], 0)
    pads = (padding // 2, padding - padding // 2)
    x = np.pad(x, (pads, pads, (0, 0)))
    sums = "ijc,ijco->c" if name.endswith("depthwise") else "ijc,ijco->o"
    y = np.array([
        [np.einsum(sums, x[i : i + size, j : j + size], kernel) for j in range(0, out * stride, stride)]
        for i in range(0, out * stride, stride)
    ])  # fmt: skip
    y = (y - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    return np.clip(y, 0, 6) if relu else y


def numpy_efficientnet(image, arrays):
    x = numpy_conv(((image + 1) * 127.5 - 127) / 128, arrays, "stem", 2, True)
    block = 0
    for stage, (_, stride, _, repeats) in enumerate(SMALL_STAGES):
        for repeat in range(repeats):
            name, shortcut = f"block{block}", x
            if stage > 0:
                x = numpy_conv(x, arrays, f"{name}/expand", 1, True)
            x = numpy_conv(x, arrays, f"{name}/depthwise", 1 if repeat else stride, True)
            x = numpy_conv(x, arrays, f"{name}/project", 1, False)
            x = x + shortcut if repeat else x
            block += 1
    return numpy_conv(x, arrays, "head", 1, True).mean((0, 1))


def test_agrees_with_numpy(small_file):
    images = np.random.default_rng(1).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
    model = efficientnet_lite0(small_file, image_size=32)
    assert not model.trainable_variables
    arrays = np.load(small_file)
    expected = [numpy_efficientnet(image.astype("float64"), arrays) for image in images]
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(model.predict_on_batch(images), expected, atol=1e-4)


def test_resizes(small_file):
    model = efficientnet_lite0(small_file, image_size=32)
    colour = np.broadcast_to(np.array([0.2, -0.5, 0.9], "float32"), (1, 48, 48, 3))
    np.testing.assert_allclose(
        ops.convert_to_numpy(model(colour)), ops.convert_to_numpy(model(colour[:, :32, :32])), atol=1e-4
    )


def test_load_feature_model(small_file, tmp_path):
    assert load_feature_model(small_file).name == "efficientnet_lite0"
    inputs = keras.layers.Input((4, 4, 3))
    keras.Model(inputs, keras.layers.Flatten()(inputs), name="own").save(tmp_path / "own.keras")
    assert load_feature_model(tmp_path / "own.keras").name == "own"
    for name in ("nowhere.npz", "nowhere.keras", "model.onnx"):
        with pytest.raises(ValueError, match=f"`path`.*Received: path=.*{name}"):
            load_feature_model(tmp_path / name)


def test_incomplete_file(small_file, tmp_path):
    arrays = dict(np.load(small_file))
    del arrays["block7/project/norm/mean"]
    np.savez(tmp_path / "incomplete.npz", **arrays)
    with pytest.raises(ValueError, match="1 are missing, the first of them 'block7/project/norm/mean'"):
        efficientnet_lite0(tmp_path / "incomplete.npz")


@pytest.mark.skipif("LATENTDIFF_METRICS" not in os.environ, reason="needs the EfficientNet weight file")
def test_published_weights():
    folder = Path(os.environ["LATENTDIFF_METRICS"])
    expected = json.loads((folder / "expected.json").read_text())
    y, x = np.mgrid[:128, :128] / 128
    rings = np.sin(20 * np.hypot(x - 0.4, y - 0.55))
    image = np.stack([rings, np.cos(9 * x), np.sin(7 * y + 5 * x * y)], axis=-1)[None].astype("float32")
    features = ops.convert_to_numpy(efficientnet_lite0(folder / "efficientnet_lite0_f16.npz")(image))[0]
    np.testing.assert_allclose(features[:8], expected["features_first8"], atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(features), expected["features_norm"], rtol=1e-5)
