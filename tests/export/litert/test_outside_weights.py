"""A file whose weights were written after its conversion is that of a conversion with weights as constants."""

import collections

import keras
import numpy as np
import pytest
from harness import first_fast, needs_tensorflow, normal
from keras import ops

from latentdiff.export.litert import file as litert_file
from latentdiff.export.litert.litert import relative_error
from latentdiff.export.litert.quantization import quantize

pytest.importorskip("ai_edge_litert")
pytestmark = needs_tensorflow


class Network(keras.Model):
    """Words, a convolution, products with matrices of each layout, an offset in front of one, and a loop around one."""

    def __init__(self):
        super().__init__()
        self.words = keras.layers.Embedding(20, 32)
        self.norm = keras.layers.LayerNormalization()
        self.dense = keras.layers.Dense(32)
        self.heads = keras.layers.EinsumDense("abc,cde->abde", (None, 4, 8), bias_axes="de")
        self.conv = keras.layers.Conv2D(32, 3, padding="same", data_format="channels_last")

    def call(self, token_ids):
        x = self.dense(self.norm(self.words(token_ids)))  # (1, 4, 32)
        x = ops.transpose(self.heads(x), (0, 2, 1, 3))  # (1, 4, 4, 8)
        x = ops.reshape(self.conv(x), (1, 16, 32))
        _, x = ops.while_loop(lambda step, x: step < 3, lambda step, x: (step + 1, ops.tanh(self.dense(x))), (0, x))
        return {"y": x + ops.matmul(x, ops.transpose(self.dense.kernel))}


@pytest.fixture(scope="module")
def network():
    network = Network()
    network(np.zeros((1, 4), "int32"))
    for seed, weight in enumerate(network.weights):
        weight.assign(0.2 * normal(seed, *weight.shape))
    return network


def converted(network):
    return litert_file.convert(network.call, [network], {"token_ids": keras.InputSpec("int32", (1, 4))})


def kinds(content):
    """How many operators of each kind, but for additions, of which the converter joins some with a constant matrix."""
    return collections.Counter(operator.name for operator in litert_file.operators(content) if operator.name != "ADD")


def test_as_with_constants(network, monkeypatch):
    inputs = {"token_ids": np.array([[3, 0, 19, 7]], "int32")}
    content, expected = converted(network), network(inputs["token_ids"])["y"]
    np.testing.assert_allclose(litert_file.run(content, inputs)["y"], expected, atol=1e-5)
    monkeypatch.setattr(litert_file, "outside", lambda models: ({}, models[0].variables))
    constant = converted(network)
    assert kinds(content) == kinds(constant) and kinds(content)["WHILE"] == 1
    assert abs(len(content) - len(constant)) < 0.1 * len(constant)


@pytest.mark.parametrize("quantization, limit", first_fast([("dynamic_int8", 0.05), ("float16", 1e-3)]))
def test_quantized(network, quantization, limit):
    pytest.importorskip("litert_quantizer")
    token_ids = np.array([[3, 0, 19, 7]], "int32")
    small = quantize(converted(network), quantization)
    error = relative_error(litert_file.run(small, {"token_ids": token_ids})["y"], network(token_ids)["y"])
    assert 0 < error < limit


def test_the_converter_sees_no_weights(network, monkeypatch):
    sizes = []
    real = litert_file.write_weights
    monkeypatch.setattr(litert_file, "write_weights", lambda content, arrays: sizes.append(len(content)) or content)
    converted(network)
    monkeypatch.setattr(litert_file, "write_weights", real)
    assert sizes[0] < len(converted(network)) / 2
