"""Exported folders: what is in them, that they answer as Keras does, and that they are written whole or not at all."""

import hashlib
import importlib.util
import json
import shutil

import keras
import numpy as np
import pytest
from exported import tiny_export
from harness import needs_tensorflow, normal, randomize, tiny_text_to_image, tiny_unet

from latentdiff.edge import EdgePipeline
from latentdiff.export import litert, litert_file, litert_parts
from latentdiff.export.litert_manifest import manifest, sampler_record
from latentdiff.samplers import DDIM, DPMPP2M

has_runtime = importlib.util.find_spec("ai_edge_litert") is not None
pytestmark = [needs_tensorflow, pytest.mark.skipif(not has_runtime, reason="needs ai-edge-litert")]

FILES = {f"{part}.tflite" for part in ("text_encoder", "denoiser", "decoder", "encoder")}


@pytest.fixture
def decoder_only(monkeypatch):
    """Exports of the decoder and the text encoder alone, which are quickly made."""
    real = litert_parts.parts

    def some(*args):
        return {name: part for name, part in real(*args).items() if name in ("text_encoder", "decoder")}

    monkeypatch.setattr(litert, "parts", some)


# === What is written ===


def test_files_and_manifest():
    pipeline, folder = tiny_export()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["files"]) == {*FILES, "tokenizer.json"}
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "manifest.json", "generate.py", "README.md"}
    for name, record in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert record == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert (manifest["format"], manifest["version"]) == ("latentdiff-litert", 1)
    assert manifest["image_size"] == [8, 8] and manifest["latent_shape"] == [4, 4, 3]
    assert manifest["parts"]["denoiser"]["inputs"]["context"] == {"shape": [2, 8, 12], "dtype": "float32"}
    assert manifest["num_steps"] == 3 and manifest["guidance_scale"] == 2.0
    assert manifest["sampler"] == {"name": "ddim", "spacing": "trailing"}
    schedule = manifest["noise_schedule"]
    np.testing.assert_array_equal(
        np.float32(schedule["signal_positions"]), pipeline.model.noise_schedule.signal_positions
    )


@pytest.mark.parametrize("name", sorted(FILES))
def test_files_take_what_the_manifest_says(name):
    from ai_edge_litert.interpreter import Interpreter

    _, folder = tiny_export()
    part = json.loads((folder / "manifest.json").read_text())["parts"][name.removesuffix(".tflite")]
    details = Interpreter(model_path=str(folder / name)).get_signature_runner().get_input_details()
    found = {key: {"shape": list(one["shape"]), "dtype": np.dtype(one["dtype"]).name} for key, one in details.items()}
    assert found == part["inputs"]


def test_a_unet_for_fewer_tokens():
    """The same weights, and the same answer where the other tokens were padding."""
    unet = randomize(tiny_unet(num_tokens=8))
    assert litert_parts.with_num_tokens(unet, 8) is unet
    short = litert_parts.with_num_tokens(unet, 5)
    assert short.num_tokens == 5
    inputs = {"noisy_latents": normal(0, 1, 4, 4, 3), "timesteps": np.array([300.0], "float32")}
    context, mask = normal(1, 1, 8, 12), np.arange(8)[None] < 4
    expected = unet({**inputs, "context": context, "context_mask": mask})
    received = short({**inputs, "context": context[:, :5], "context_mask": mask[:, :5]})
    np.testing.assert_allclose(received, expected, atol=1e-5)


@pytest.mark.slow
def test_fewer_tokens_same_picture(tmp_path):
    pipeline, _ = tiny_export()
    folder = litert.export_litert(pipeline, tmp_path / "short", num_tokens=6)
    picture = EdgePipeline(folder).generate("a red apple", seed=3)
    np.testing.assert_allclose(picture.astype(int), pipeline.generate("a red apple", seed=3), atol=2)


@pytest.mark.slow
def test_single_file(tmp_path):
    pipeline, _ = tiny_export()
    folder = litert.export_litert(pipeline, tmp_path / "single", single_file=True)
    tokenize = pipeline.model.text_encoder.tokenize
    inputs = {
        "token_ids": tokenize(["a red apple"]),
        "negative_token_ids": tokenize(["blue"]),
        "seed": np.array([7], "int32"),
        "num_steps": np.array([5], "int32"),
        "guidance_scale": np.array([3.0], "float32"),
    }
    (picture,) = litert_file.run((folder / "pipeline.tflite").read_bytes(), inputs)["images"]
    expected = pipeline.generate("a red apple", negative_prompts="blue", seed=7, num_steps=5, guidance_scale=3.0)
    np.testing.assert_allclose(picture.astype(int), expected, atol=2)


# === What is refused ===


def test_other_folders_are_kept(tmp_path, decoder_only):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="other things"):
        litert.export_litert(tiny_export()[0], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_earlier_exports_are_replaced(tmp_path, decoder_only):
    shutil.copytree(tiny_export()[1], tmp_path / "edge")
    litert.export_litert(tiny_export()[0], tmp_path / "edge")
    assert not (tmp_path / "edge" / "denoiser.tflite").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["edge"]


def test_a_file_that_answers_differently_is_found(tmp_path, decoder_only, monkeypatch):
    real = litert_file.run

    def wrong(content, inputs):
        return {name: value + 0.01 * value.std() for name, value in real(content, inputs).items()}

    monkeypatch.setattr(litert_file, "run", wrong)
    with pytest.raises(ValueError, match="text_encoder.tflite does not answer as Keras does: `context`"):
        litert.export_litert(tiny_export()[0], tmp_path / "edge")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_tokens": 9}, "num_tokens"),
        ({"num_tokens": 2}, "num_tokens"),
        ({"quantization": "int3"}, "quantization"),
        ({"quantization": {"unet": "float16"}}, "quantization"),
    ],
)
def test_wrong_options(options, message, tmp_path):
    with pytest.raises(ValueError, match=f"`{message}`.*Received"):
        litert.export_litert(tiny_export()[0], tmp_path / "edge", **options)


@pytest.mark.parametrize("sampler", ["heun", {"name": "ddim", "eta": 0.5}, {"name": "ddim", "spacing": "karras"}])
def test_samplers_that_the_edge_lacks(sampler, tmp_path):
    with pytest.raises(ValueError, match="sampler"):
        litert.export_litert(tiny_text_to_image_with(sampler), tmp_path / "edge")


def tiny_text_to_image_with(sampler):
    pipeline = tiny_text_to_image()
    pipeline.sampler = sampler
    return pipeline


def test_the_manifest_is_json_for_everybody():
    pipeline, folder = tiny_export()
    parts = litert_parts.parts(pipeline, 8, 2, False)
    pipeline.guidance_interval = (0.5, float("inf"))
    made = manifest(pipeline, parts, {}, dict.fromkeys(parts, "none"))
    pipeline.guidance_interval = None
    assert made["guidance_interval"] == [0.5, 1e30]
    json.dumps(made, allow_nan=False)


def test_sampler_record():
    assert sampler_record(DPMPP2M(spacing="leading")) == {"name": "dpmpp_2m", "spacing": "leading"}
    assert sampler_record(DDIM()) == {"name": "ddim", "spacing": "trailing"}


# === The look into a file ===


def converted(function, *shape, flex=False, module=None):
    """A function of one tensor as a LiteRT file, by no way of ours."""
    import tensorflow as tf

    concrete = tf.function(function, input_signature=[tf.TensorSpec(shape)]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    converter.experimental_enable_resource_variables = True
    if flex:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    return converter.convert()


def test_operators_that_litert_lacks():
    import tensorflow as tf

    dense = keras.layers.Dense(3)
    dense.build((None, 4))
    with pytest.raises(ValueError, match="tf.Betainc"):
        litert_file.convert(
            lambda x: {"y": tf.math.betainc(dense(x), 0.5, 0.5)}, dense, {"x": keras.InputSpec("float32", (2, 4))}
        )


def test_operators_that_some_runtimes_lack():
    import tensorflow as tf

    litert_file.check(converted(lambda x: tf.transpose(x, (3, 2, 1, 0)), 2, 3, 4, 5))
    with pytest.raises(ValueError, match=r"TRANSPOSE.*\(2, 3, 4, 5, 6\)"):
        litert_file.check(converted(lambda x: tf.transpose(x, (4, 3, 2, 1, 0)), 2, 3, 4, 5, 6))
    with pytest.raises(ValueError, match="BROADCAST_TO"):
        litert_file.check(converted(lambda x: tf.broadcast_to(x, (5, 2)), 1, 2))
    with pytest.raises(ValueError, match="FlexStatelessRandom"):
        litert_file.check(converted(lambda x: x + tf.random.stateless_normal((2,), [1, 2]), 2, flex=True))
    counter = tf.Module()
    counter.count = tf.Variable(tf.zeros(2))
    with pytest.raises(ValueError, match="VAR_HANDLE"):
        litert_file.check(converted(lambda x: counter.count.assign_add(x), 2, module=counter))


def test_too_large():
    content = (tiny_export()[1] / "decoder.tflite").read_bytes()
    litert_file.check(content, max_bytes=len(content))
    with pytest.raises(ValueError, match="larger than"):
        litert_file.check(content, max_bytes=len(content) - 1)
