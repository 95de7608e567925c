import keras
import numpy as np
import pytest
from harness import normal

from latentdiff.convert import layouts


@pytest.mark.parametrize(
    "path, shape",
    [
        ("conv/kernel", (3, 3, 4, 8)),
        ("dense/kernel", (4, 8)),
        ("dense/bias", (8,)),
        ("norm/gamma", (8,)),
        ("token_embedding/embeddings", (10, 4)),
        ("attention/query/kernel", (6, 3, 2)),
        ("attention/query/bias", (3, 2)),
        ("attention/attention_output/kernel", (3, 2, 6)),
    ],
)
def test_there_and_back(path, shape):
    values = normal(0, *shape)
    stored = layouts.to_torch(values, path)
    assert stored.shape == layouts.torch_shape(path, shape)
    np.testing.assert_array_equal(layouts.to_variable(stored, path, shape), values)


def test_heads():
    """PyTorch's matrices, applied as in `torch.nn.MultiheadAttention`, answer as Keras' attention does."""
    attention = keras.layers.MultiHeadAttention(3, 2)
    inputs = normal(0, 1, 5, 6)
    attention.build(inputs.shape, inputs.shape)
    stored = {}
    for index, variable in enumerate(attention.variables):
        variable.assign(normal(index, *variable.shape))
        stored[variable.path.split("/", 1)[1]] = layouts.to_torch(np.array(variable), variable.path)
    query, key, value = (
        (inputs @ stored[f"{name}/kernel"].T + stored[f"{name}/bias"]).reshape(1, 5, 3, 2).transpose(0, 2, 1, 3)
        for name in ("query", "key", "value")
    )
    scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(2.0)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    joined = (shares @ value).transpose(0, 2, 1, 3).reshape(1, 5, 6)
    expected = joined @ stored["attention_output/kernel"].T + stored["attention_output/bias"]
    np.testing.assert_allclose(attention(inputs, inputs), expected, atol=1e-5)


def test_shapes():
    layouts.check_shape((8, 4, 1, 1), "dense/kernel", (4, 8), "it")  # a convolution of 1 x 1 is a matrix
    layouts.check_shape((8, 4), "conv/kernel", (1, 1, 4, 8), "it")
    for shape in ((4, 8), (8, 4, 3, 3), (8, 4, 1), (32,)):
        with pytest.raises(ValueError, match=r"it must have the shape \(8, 4\). Received: "):
            layouts.check_shape(shape, "dense/kernel", (4, 8), "it")
