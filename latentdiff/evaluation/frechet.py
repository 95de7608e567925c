import numpy as np

from latentdiff.evaluation.set_distance import SetDistance


class FrechetDistance:
    """Frechet distance of two sets of features, each taken as one Gaussian.

    |mean_r - mean_g|^2 + tr(C_r + C_g - 2 (C_r C_g)^(1/2)). Mean and covariance are accumulated batch by batch, so that
    memory does not grow with the number of images. Few images bias the estimate upwards: compare only values for the
    same number of images, and prefer `KID` below about ten thousand.

    Reference:
        Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, 2017,
        equation 6.
    """

    def __init__(self):
        self._real, self._generated = _Moments(), _Moments()
        self._root_of_real = None

    def update_real(self, features):
        """Adds real images by their features, (n, dim)."""
        self._real.update(features)
        self._root_of_real = None

    def update_generated(self, features):
        """Adds generated images by their features, (n, dim)."""
        self._generated.update(features)

    def reset_generated(self):
        """Forgets the generated images; results for the real ones are kept."""
        self._generated = _Moments()

    def result(self):
        """The distance of all that was added, as `SetDistance`."""
        for name, moments in {"real": self._real, "generated": self._generated}.items():
            if moments.count < 2:
                raise ValueError(f"`update_{name}` must have been given 2 images or more. Received: {moments.count}")
        real, generated = self._real.covariance(), self._generated.covariance()
        # With C = A A^T, the eigenvalues of C_r C_g are the squared singular values of A_r^T A_g.
        if self._root_of_real is None:
            self._root_of_real = _root(real)
        cross = np.linalg.svd(self._root_of_real.T @ _root(generated), compute_uv=False).sum()
        shift = np.sum((self._real.mean - self._generated.mean) ** 2)
        value = shift + np.trace(real) + np.trace(generated) - 2 * cross
        return SetDistance(float(value), self._real.count, self._generated.count)


class _Moments:
    """Count, mean and scatter matrix of vectors that come in batches."""

    def __init__(self):
        self.count, self.mean, self.scatter = 0, 0.0, 0.0

    def update(self, features):
        features = np.asarray(features, "float64")
        if features.ndim != 2:
            raise ValueError(f"`features` must have shape (n, dim). Received: features of shape {features.shape}")
        if len(features) == 0:
            return
        count, mean = self.count + len(features), features.mean(0)
        centred, shift = features - mean, mean - self.mean
        weight = self.count * len(features) / count
        self.scatter = self.scatter + centred.T @ centred + weight * np.outer(shift, shift)
        self.mean = self.mean + shift * len(features) / count
        self.count = count

    def covariance(self):
        return self.scatter / (self.count - 1)


def _root(covariance):
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0))
