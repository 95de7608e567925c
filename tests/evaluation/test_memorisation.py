import numpy as np

from latentdiff.evaluation import memorisation


def test_distance_to_the_nearest_training_picture_that_counts():
    training = np.array([[1.0, 0], [0, 1], [-1, 0]])
    features = np.array([[2.0, 0], [1, 1], [-1, 0.01]])
    distances, indices = memorisation(features, training)
    assert indices.tolist() == [0, 0, 2]
    np.testing.assert_allclose(distances, [0, 1 - 0.5**0.5, 5e-5], atol=1e-6)
    allowed = np.array([[False, True, True]] * 3)
    distances, indices = memorisation(features, training, allowed)
    assert indices.tolist() == [1, 1, 2]
    np.testing.assert_allclose(distances[0], 1, atol=1e-6)
