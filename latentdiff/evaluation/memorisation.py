from latentdiff.evaluation.retrieval import nearest_neighbours


def memorisation(features, training_features, allowed=None):
    """How near each generated picture comes to the training picture most like it.

    Small distances alone prove no copying: compare them with those of real pictures that were not trained on.

    Args:
        features: float array (n, dim), features of generated pictures.
        training_features: float array (m, dim), features of the training pictures.
        allowed: bool array (n, m), False where a training picture does not count, such as one of the thing asked for.

    Returns:
        `(distances, indices)`: float32 array (n,), 1 - cosine, in [0, 2]; int array (n,) into the training pictures.

    Raises:
        ValueError: as in `nearest_neighbours`.
    """
    indices, similarities = nearest_neighbours(features, training_features, allowed=allowed)
    return 1 - similarities[:, 0], indices[:, 0]
