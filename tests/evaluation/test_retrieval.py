import numpy as np
import pytest

from latentdiff.evaluation import nearest_neighbours, recall_at_k


def random_features(seed, n, dim=8):
    return np.random.default_rng(seed).normal(size=(n, dim))


@pytest.mark.parametrize("batch_size", [3, 100])
@pytest.mark.parametrize("masked", [False, True])
def test_agrees_with_one_comparison_at_a_time(batch_size, masked):
    queries, references = random_features(0, 10), random_features(1, 30)
    allowed = np.random.default_rng(2).uniform(size=(10, 30)) < 0.5 if masked else None
    indices, similarities = nearest_neighbours(queries, references, 4, allowed, batch_size)
    for i, query in enumerate(queries):
        cosines = {
            j: query @ x / np.linalg.norm(query) / np.linalg.norm(x)
            for j, x in enumerate(references)
            if not masked or allowed[i, j]
        }
        expected = sorted(cosines, key=cosines.get, reverse=True)[:4]
        assert indices[i].tolist() == expected
        np.testing.assert_allclose(similarities[i], [cosines[j] for j in expected], rtol=1e-5)


def test_length_does_not_count_and_inputs_stay():
    references = random_features(0, 6)
    queries, allowed = references * 7, np.ones((6, 6), bool)
    kept = queries.copy(), allowed.copy()
    indices, similarities = nearest_neighbours(queries, references, allowed=allowed)
    assert indices[:, 0].tolist() == list(range(6))
    np.testing.assert_allclose(similarities, 1, atol=1e-6)
    np.testing.assert_array_equal(queries, kept[0])
    np.testing.assert_array_equal(allowed, kept[1])


def test_nearest_errors():
    x = random_features(0, 4)
    with pytest.raises(ValueError, match="`k` must be between 1 and 4.*Received: k=5"):
        nearest_neighbours(x, x, k=5)
    with pytest.raises(ValueError, match="`k` must be between 1 and 3"):
        nearest_neighbours(x, x, k=4, allowed=~np.eye(4, dtype=bool))
    with pytest.raises(ValueError, match="`allowed` must have shape"):
        nearest_neighbours(x, x, allowed=np.ones(4, bool))
    with pytest.raises(ValueError, match="same length"):
        nearest_neighbours(x, x[:, :-1])
    with pytest.raises(ValueError, match="`queries` must have shape"):
        nearest_neighbours(x[0], x)


def test_recall():
    answers = np.array([[0, 1], [2, 3], [4, 5], [6, 7]])
    right = [{1}, {0, 1}, {5, 9}, {6, 7}]
    assert recall_at_k(answers, right) == 0.75
    assert recall_at_k(answers[:, :1], right) == 0.25
    assert recall_at_k([["a"], ["b"]], [["a", "c"], ["a"]]) == 0.5


def test_recall_errors():
    with pytest.raises(ValueError, match="same length"):
        recall_at_k([[1]], [])
    with pytest.raises(ValueError, match="no empty set"):
        recall_at_k([[1]], [set()])
