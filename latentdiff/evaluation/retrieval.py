import numpy as np


def nearest_neighbours(queries, references, k=1, allowed=None, batch_size=512):
    """The most similar references of each query, by the cosine of their features.

    Args:
        queries: float array (n, dim).
        references: float array (m, dim).
        k: number of neighbours.
        allowed: bool array (n, m), False where a reference may not answer a query; None allows all.
        batch_size: queries compared at once.

    Returns:
        `(indices, similarities)`: int array (n, k) into the references, the most similar first, and float32 array
        (n, k) of cosines. Of equally similar references the first comes first.

    Raises:
        ValueError: arrays that do not fit each other, or a query that fewer than `k` references may answer.
    """
    queries, references = _unit_length("queries", queries), _unit_length("references", references)
    if queries.shape[1] != references.shape[1]:
        raise ValueError(
            "`queries` and `references` must have features of the same length. "
            f"Received: queries.shape={queries.shape}, references.shape={references.shape}"
        )
    shape = (len(queries), len(references))
    if allowed is not None and np.shape(allowed) != shape:
        raise ValueError(f"`allowed` must have shape {shape}. Received: allowed.shape={np.shape(allowed)}")
    fewest = shape[1] if allowed is None else int(np.sum(allowed, axis=1).min(initial=shape[1]))
    if not 1 <= k <= fewest:
        raise ValueError(f"`k` must be between 1 and {fewest}, the fewest allowed references. Received: k={k}")
    indices = np.empty((len(queries), k), "int64")
    similarities = np.empty((len(queries), k), "float32")
    for start in range(0, len(queries), batch_size):
        rows = slice(start, start + batch_size)
        cosines = queries[rows] @ references.T  # (batch, m)
        if allowed is not None:
            cosines[~np.asarray(allowed[rows], bool)] = -np.inf
        each = np.arange(len(cosines))
        for rank in range(k):
            best = np.argmax(cosines, axis=1)
            indices[rows, rank], similarities[rows, rank] = best, cosines[each, best]
            cosines[each, best] = -np.inf
    return indices, similarities


def recall_at_k(answers, right_answers):
    """Share of the queries that have a right answer among their k answers.

    Args:
        answers: n sequences of k answers (indices, ids or any hashable values).
        right_answers: n sets of the answers that count as right, none of them empty.

    Returns:
        float in [0, 1].

    Raises:
        ValueError: different lengths, or a query without a right answer.
    """
    if len(answers) != len(right_answers) or len(answers) == 0:
        raise ValueError(
            "`answers` and `right_answers` must have the same length, 1 or more. "
            f"Received: {len(answers)} answers, {len(right_answers)} right answers"
        )
    if not all(len(right) for right in right_answers):
        raise ValueError("`right_answers` must hold no empty set. Received: an empty set")
    hits = [not set(right).isdisjoint(list(given)) for given, right in zip(answers, right_answers, strict=True)]
    return float(np.mean(hits))


def _unit_length(name, features):
    features = np.asarray(features, "float32")
    if features.ndim != 2:
        raise ValueError(f"`{name}` must have shape (n, dim). Received: {name} of shape {features.shape}")
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
