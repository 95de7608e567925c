"""Features of many images, cached on disk under a key of images and network, so that they cannot be stale."""

import hashlib
from pathlib import Path

import numpy as np

from latentdiff.evaluation.extract_features import extract_features
from latentdiff.evaluation.feature_models import load_feature_model
from latentdiff.whole_files import replaced

CHUNK = 1024


class FeatureCache:
    """Computes features once, chunk by chunk; an interrupted run resumes where it stopped.

    Args:
        weights: path of the network's weight file, for `latentdiff.evaluation.load_feature_model`.
        folder: where the features are kept, or None to keep nothing.
        batch_size: images per call of the network.
    """

    def __init__(self, weights, folder=None, batch_size=32):
        self.model = load_feature_model(weights)
        self.digest = hashlib.sha256(Path(weights).read_bytes()).digest()
        self.folder = None if folder is None else Path(folder)
        self.batch_size = batch_size

    def __call__(self, images):
        """uint8 images (n, height, width, 3) -> float32 features (n, dim)."""
        return np.concatenate([self._chunk(images[start : start + CHUNK]) for start in range(0, len(images), CHUNK)])

    def _chunk(self, images):
        if self.folder is None:
            return extract_features(self.model, images, self.batch_size)
        content = hashlib.sha256(self.digest + str(images.shape).encode())
        content.update(np.ascontiguousarray(images))
        path = self.folder / f"{content.hexdigest()[:24]}.npy"
        if path.exists():
            return np.load(path)
        features = extract_features(self.model, images, self.batch_size)
        self.folder.mkdir(parents=True, exist_ok=True)
        with replaced(path) as draft:
            np.save(draft, features)
        return features
