from latentdiff.evaluation.retrieval import nearest_neighbours


def memorisation(features, training_features, allowed=None):
    """Distance of each generated image from its most similar training image.

    Small distances alone prove no copying: compare them with those of real images that were not trained on.

    Args:
        features: float array (n, dim), features of generated images.
        training_features: float array (m, dim), features of the training images.
        allowed: bool array (n, m), False where a training image is excluded, such as one of the prompt's subject.

    Returns:
        `(distances, indices)`: float32 array (n,), 1 - cosine, in [0, 2]; int array (n,) into the training images.

    Raises:
        ValueError: as in `nearest_neighbours`.
    """
    indices, similarities = nearest_neighbours(features, training_features, allowed=allowed)
    return 1 - similarities[:, 0], indices[:, 0]
