import keras
import numpy as np
import pytest

from latentdiff.evaluation import extract_features


def random_images(n=7):
    return np.random.default_rng(0).integers(0, 256, (n, 4, 4, 3)).astype("uint8")


def test_batches_of_any_size_give_the_same_features():
    images = random_images()
    inputs = keras.layers.Input((4, 4, 3))
    model = keras.Model(inputs, keras.layers.Dense(5)(keras.layers.Flatten()(inputs)))
    features = extract_features(model, images, batch_size=3)
    assert features.shape == (7, 5) and features.dtype == np.float32
    np.testing.assert_allclose(features, model(images / 127.5 - 1), atol=1e-5)
    stream = (images[start : start + 4] for start in (0, 4))
    np.testing.assert_allclose(extract_features(model, stream, batch_size=3), features, atol=1e-6)


def test_callable_sees_full_batches_only():
    seen = []

    def model(images):
        seen.append(images.shape[0])
        return images.mean((1, 2))

    features = extract_features(model, random_images(), batch_size=3)
    assert seen == [3, 3, 3]
    np.testing.assert_allclose(features, (random_images() / 127.5 - 1).mean((1, 2)), rtol=1e-4, atol=1e-6)


def test_errors():
    with pytest.raises(ValueError, match="`images` must be uint8.*float64"):
        extract_features(np.mean, random_images() / 1.0)
    with pytest.raises(ValueError, match="at least one image"):
        extract_features(np.mean, random_images(0))
    with pytest.raises(ValueError, match="`model` must give features"):
        extract_features(lambda images: images, random_images())
