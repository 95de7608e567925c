import keras
import numpy as np

from latentdiff.evaluation import feature_cache
from latentdiff.evaluation.feature_cache import FeatureCache


def test_computes_once_and_notices_other_pictures_and_networks(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "CHUNK", 4)
    for name, scale in [("a", 1.0), ("b", 2.0)]:
        inputs = keras.layers.Input((4, 4, 3))
        outputs = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(scale)(inputs))
        keras.Model(inputs, outputs).save(tmp_path / f"{name}.keras")
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3)).astype("uint8")
    expected = (images / 127.5 - 1).mean((1, 2))
    np.testing.assert_allclose(FeatureCache(tmp_path / "a.keras")(images), expected, atol=1e-5)

    folder = tmp_path / "cache"
    cache = FeatureCache(tmp_path / "a.keras", folder)
    features = cache(images)
    assert len(list(folder.iterdir())) == 2
    cache.model = None  # what is kept needs no network
    np.testing.assert_array_equal(cache(images), features)
    np.testing.assert_allclose(FeatureCache(tmp_path / "b.keras", folder)(images), 2 * expected, atol=1e-5)
    images[0, 0, 0, 0] ^= 255
    changed = FeatureCache(tmp_path / "a.keras", folder)(images)
    assert (changed[0] != features[0]).any() and (changed[1:] == features[1:]).all()
