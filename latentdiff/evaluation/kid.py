import numpy as np

from latentdiff.evaluation.set_distance import SetDistance


class KID:
    """Kernel Inception distance: the unbiased squared maximum mean discrepancy of two sets of features.

    The kernel is (x . y / dim + 1)^3. The estimate is unbiased at any number of images, hence can fall below zero.
    Features are kept; the kernel matrix is summed in blocks and never stored whole.

    Args:
        subset_size: None to use all images at once, or the number of images drawn without replacement from each
            set for one estimate; the value is then the mean of `num_subsets` estimates, and their deviation is given.
        num_subsets: number of subsets.
        seed: int, decides the subsets.
        block_size: rows of the kernel matrix computed at once.

    Reference:
        Binkowski et al., Demystifying MMD GANs, 2018, equation 4 and section 4.
    """

    def __init__(self, subset_size=None, num_subsets=100, seed=0, block_size=1024):
        if subset_size is not None and subset_size < 2:
            raise ValueError(f"`subset_size` must be None or at least 2. Received: subset_size={subset_size}")
        self.subset_size = subset_size
        self.num_subsets = num_subsets
        self.seed = seed
        self.block_size = block_size
        self._real, self._generated = [], []
        self._within_real = None

    def update_real(self, features):
        """Adds real images by their features, (n, dim)."""
        self._real.append(_check_features(features))
        self._within_real = None

    def update_generated(self, features):
        """Adds generated images by their features, (n, dim)."""
        self._generated.append(_check_features(features))

    def reset_generated(self):
        """Forgets the generated images; results for the real ones are kept."""
        self._generated = []

    def result(self):
        """The distance of all that was added, as `SetDistance`."""
        real, generated = self._gather("real", self._real), self._gather("generated", self._generated)
        if self.subset_size is None:
            if self._within_real is None:
                self._within_real = self._mean_kernel(real, real)
            return SetDistance(self._estimate(real, generated, self._within_real), len(real), len(generated))
        rng = np.random.default_rng(self.seed)
        estimates = []
        for _ in range(self.num_subsets):
            x, y = (rng.choice(features, self.subset_size, replace=False) for features in (real, generated))
            estimates.append(self._estimate(x, y, self._mean_kernel(x, x)))
        return SetDistance(float(np.mean(estimates)), len(real), len(generated), float(np.std(estimates)))

    def _gather(self, name, parts):
        features = np.concatenate(parts) if parts else np.empty((0, 1))
        least = self.subset_size or 2
        if len(features) < least:
            raise ValueError(f"`update_{name}` must have been given {least} images or more. Received: {len(features)}")
        return features

    def _estimate(self, real, generated, within_real):
        within_generated = self._mean_kernel(generated, generated)
        return float(within_real + within_generated - 2 * self._mean_kernel(real, generated))

    def _mean_kernel(self, x, y):
        """Mean of the kernel over pairs; where `x is y`, over pairs of different images."""
        starts = range(0, len(x), self.block_size)
        total = sum(np.sum(_kernel(x[start : start + self.block_size], y)) for start in starts)
        if x is not y:
            return total / (len(x) * len(y))
        own = np.sum((np.sum(x * x, axis=1) / x.shape[1] + 1) ** 3)
        return (total - own) / (len(x) * (len(x) - 1))


def _kernel(x, y):
    base = x @ y.T / x.shape[1] + 1
    return base * base * base  # quicker than ** 3


def _check_features(features):
    features = np.asarray(features, "float64")
    if features.ndim != 2:
        raise ValueError(f"`features` must have shape (n, dim). Received: features of shape {features.shape}")
    return features
