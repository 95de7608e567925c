"""Quantized files are smaller, still near Keras, and each part can have its own."""

import keras
import numpy as np
import pytest
from harness import first_fast, needs_tensorflow

from latentdiff.export.litert import file as litert_file
from latentdiff.export.litert.embeddings import quantize_embeddings
from latentdiff.export.litert.litert import relative_error
from latentdiff.export.litert.quantization import check_quantization, quantize

pytest.importorskip("ai_edge_litert")
pytestmark = needs_tensorflow


@pytest.fixture(scope="module")
def table():
    """A file that looks words up and multiplies them, its input and its answer."""
    embedding = keras.layers.Embedding(700, 128, name="words")
    dense = keras.layers.Dense(256, name="dense")
    embedding.build((None, None))
    dense.build((None, None, 128))
    embedding.embeddings.assign(
        np.random.default_rng(0).standard_normal((700, 128)) * np.linspace(0.01, 5, 700)[:, None]
    )
    token_ids = np.array([[0, 3, 699, 350]], "int32")

    def look_up(token_ids):
        return {"features": dense(embedding(token_ids)), "words": embedding(token_ids)}

    content = litert_file.convert(look_up, [embedding, dense], {"token_ids": keras.InputSpec("int32", (1, 4))})
    return content, {"token_ids": token_ids}, look_up(token_ids)


@pytest.mark.parametrize(
    "quantization, words, rest", first_fast([("dynamic_int8", 1e-2, 3e-2), ("float16", 1e-3, 1e-3)])
)
def test_smaller_and_near(quantization, words, rest, table):
    pytest.importorskip("litert_quantizer")
    content, inputs, expected = table
    small = quantize(content, quantization)
    litert_file.check(small)
    assert len(small) < len(content) * (0.6 if quantization == "float16" else 0.35)
    answers = litert_file.run(small, inputs)
    for name, limit in (("words", words), ("features", rest)):
        assert 0 < relative_error(answers[name], expected[name]) < limit


@pytest.mark.parametrize("quantization, limit", [("float16", 1e-3), ("dynamic_int8", 1.0 / 127)])
def test_each_word_keeps_its_scale(quantization, limit, table):
    """Words of small numbers are stored as exactly as words of large ones."""
    content, inputs, expected = table
    received = litert_file.run(quantize_embeddings(content, quantization), inputs)["words"]
    error = np.abs(received - expected["words"]).max(axis=-1)
    assert (error <= limit * np.abs(expected["words"]).max(axis=-1)).all() and error.max() > 0


@pytest.mark.parametrize("name, widened", first_fast([("text_encoder", True), ("conv", False)]))
def test_the_text_encoder_is_spared(name, widened):
    """By name: its 8 bits are widened before they are used, those of the rest are computed with."""
    pytest.importorskip("litert_quantizer")
    dense = keras.layers.Dense(64, name=name)
    dense.build((None, 64))
    inputs = {"x": keras.InputSpec("float32", (1, 64))}
    content = litert_file.convert(lambda x: {"y": keras.ops.tanh(dense(x))}, [dense], inputs)
    small = quantize(content, "dynamic_int8")
    assert len(content) - len(small) > 2.5 * 64**2
    assert ("DEQUANTIZE" in {operator.name for operator in litert_file.operators(small)}) == widened


@pytest.mark.slow
def test_filters_of_more_than_32_mib():
    """litert-quantizer takes another way for them."""
    pytest.importorskip("litert_quantizer")
    conv = keras.layers.Conv2D(1024, 3, padding="same", data_format="channels_last")
    conv.build((1, 4, 4, 1024))
    assert 4 * conv.kernel.numpy().size > 32 * 2**20
    x = np.random.default_rng(0).standard_normal((1, 4, 4, 1024)).astype("float32")
    content = litert_file.convert(lambda x: {"y": conv(x)}, [conv], {"x": keras.InputSpec("float32", x.shape)})
    small = quantize(content, "dynamic_int8")
    assert len(small) < 0.26 * len(content)
    assert 0 < relative_error(litert_file.run(small, {"x": x})["y"], conv(x)) < 0.02


def test_small_tables_stay(tiny_export):
    content = (tiny_export[1] / "text_encoder.tflite").read_bytes()
    kinds = [operator.name for operator in litert_file.operators(content)]
    assert "GATHER" in kinds
    changed = quantize_embeddings(content, "dynamic_int8")
    assert [operator.name for operator in litert_file.operators(changed)] == kinds


def test_parts_are_chosen():
    names = ("text_encoder", "denoiser")
    assert check_quantization("float16", names) == {"text_encoder": "float16", "denoiser": "float16"}
    assert check_quantization({"denoiser": "dynamic_int8"}, names) == {
        "text_encoder": "none",
        "denoiser": "dynamic_int8",
    }


def test_none_changes_nothing(table):
    assert quantize(table[0], "none") is table[0]
