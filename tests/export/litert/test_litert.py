"""Exported folders: what is in them, that they answer as Keras does, and that they are written whole or not at all."""

import hashlib
import importlib.util
import json
import shutil

import keras
import numpy as np
import pytest
from harness import EXPORTED, first_fast, needs_tensorflow, normal

from latentdiff import NoiseSchedule, TextToImage
from latentdiff.diffusion import samplers
from latentdiff.diffusion.samplers import DDIM, DPMPP2M, SAMPLERS
from latentdiff.diffusion.stepping import Stepper
from latentdiff.export.litert import file as litert_file
from latentdiff.export.litert import litert
from latentdiff.export.litert import parts as litert_parts
from latentdiff.export.litert.manifest import manifest
from latentdiff.export.litert.steps import _advance, _start, exported_samplers, step_parts
from latentdiff.runtimes.edge import EdgePipeline

has_runtime = importlib.util.find_spec("ai_edge_litert") is not None
pytestmark = [needs_tensorflow, pytest.mark.skipif(not has_runtime, reason="needs ai-edge-litert")]

CUT = [name for name, sampler in SAMPLERS.items() if sampler.denoiser_calls == 1]
STEPS = {f"{function}_{name}.tflite" for function in ("start", "advance") for name in EXPORTED}
FILES = {f"{part}.tflite" for part in ("text_encoder", "denoiser", "decoder", "encoder")} | STEPS


@pytest.fixture
def decoder_only(monkeypatch):
    """Exports of the decoder and the text encoder alone, which are quickly made."""
    real = litert_parts.parts

    def some(*args):
        return {name: part for name, part in real(*args).items() if name in ("text_encoder", "decoder")}

    monkeypatch.setattr(litert, "parts", some)
    monkeypatch.setattr(litert, "step_parts", lambda *args: {})


# === What is written ===


def test_files_and_manifest(tiny_export):
    pipeline, folder = tiny_export
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["files"]) == {*FILES, "tokenizer.json"}
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "manifest.json", "generate.py", "README.md"}
    for name, record in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert record == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert (manifest["format"], manifest["version"]) == ("latentdiff-litert", 2)
    assert manifest["image_size"] == [8, 8] and manifest["latent_shape"] == [4, 4, 3]
    assert manifest["parts"]["denoiser"]["inputs"]["context"] == {"shape": [2, 8, 12], "dtype": "float32"}
    assert manifest["samplers"]["ddim"] == {"start": "start_ddim", "advance": "advance_ddim"}
    assert list(manifest["samplers"]) == list(EXPORTED)
    rows = {row["name"]: row for row in manifest["settings"]}
    assert (rows["num_steps"]["default"], rows["guidance_scale"]["default"], rows["sampler"]["default"]) == (
        3,
        2.0,
        "ddim",
    )
    assert all(manifest["parts"][name.removesuffix(".tflite")]["quantization"] == "none" for name in STEPS)
    assert sum(record["bytes"] for name, record in manifest["files"].items() if name in STEPS) < 1_000_000


@pytest.mark.parametrize("name", sorted(FILES))
def test_files_take_what_the_manifest_says(name, tiny_export):
    from ai_edge_litert.interpreter import Interpreter

    _, folder = tiny_export
    part = json.loads((folder / "manifest.json").read_text())["parts"][name.removesuffix(".tflite")]
    details = Interpreter(model_path=str(folder / name)).get_signature_runner().get_input_details()
    found = {key: {"shape": list(one["shape"]), "dtype": np.dtype(one["dtype"]).name} for key, one in details.items()}
    assert found == part["inputs"]


@pytest.mark.slow
def test_fewer_tokens_same_picture(tmp_path, tiny_export):
    pipeline, _ = tiny_export
    folder = litert.export_litert(pipeline, tmp_path / "short", num_tokens=6)
    picture = EdgePipeline(folder).generate("a red apple", seed=3)
    np.testing.assert_allclose(picture.astype(int), pipeline.generate("a red apple", seed=3), atol=2)


@pytest.mark.slow
def test_single_file(tmp_path, tiny_export):
    pipeline, _ = tiny_export
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


@pytest.mark.slow
def test_single_file_of_the_shipped_preset():
    """DPM-Solver++ remembers a log_snr of minus infinity before the first step, also in the loop of a LiteRT file."""
    pipeline = TextToImage.from_preset("emoji-128")
    text_encoder = pipeline.model.text_encoder
    part = litert_parts.parts(pipeline, text_encoder.sequence_length, 2, True)["pipeline"]
    example = litert._example_texts(pipeline, text_encoder.sequence_length)
    content = litert._file("pipeline", part, "none", example)
    prompt, negative, settings = "grinning cat, flat", "blue", {"seed": 3, "num_steps": 12, "guidance_scale": 3.0}
    numbers = {name: np.array([value], part.inputs[name].dtype) for name, value in settings.items()}
    token_ids = {"token_ids": text_encoder.tokenize([prompt]), "negative_token_ids": text_encoder.tokenize([negative])}
    (picture,) = litert_file.run(content, {**token_ids, **numbers})["images"]
    expected = pipeline.generate(prompt, negative_prompts=negative, **settings)
    assert type(samplers.get(pipeline.sampler)) is DPMPP2M and expected.std() > 10
    np.testing.assert_allclose(picture.astype(int), expected, atol=2)


# === What is refused ===


def test_weights_that_are_too_many_are_refused_before_any_work(tmp_path, monkeypatch, pipeline):
    monkeypatch.setattr(litert_file, "MAX_BYTES", 2 * pipeline.model.unet.count_params() - 1)
    monkeypatch.setattr(litert_file, "convert", None)
    others = dict.fromkeys(("text_encoder", "decoder", "encoder"), "dynamic_int8")
    with pytest.raises(ValueError, match="denoiser.tflite can't be made: its weights take .* GB for quantization 'flo"):
        litert.export_litert(pipeline, tmp_path / "edge", {"denoiser": "float16", **others})
    assert not (tmp_path / "edge").exists()


def test_other_folders_are_kept(tmp_path, tiny_export):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="other things in it, which would be lost: letter.txt"):
        litert.export_litert(tiny_export[0], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(ValueError, match="`folder` is a file"):
        litert.export_litert(tiny_export[0], tmp_path / "letter.txt")


def test_pictures_in_an_export_are_kept(tmp_path, tiny_export):
    folder = shutil.copytree(tiny_export[1], tmp_path / "edge")
    (folder / "new").mkdir()
    for name in ("mine.png", "new/other.png"):
        (folder / name).write_bytes(b"picture")
    before = sorted(folder.rglob("*"))
    with pytest.raises(ValueError, match=r"`folder` has other things.*: mine.png, new/other.png\."):
        litert.export_litert(tiny_export[0], folder)
    assert sorted(folder.rglob("*")) == before and [path.name for path in tmp_path.iterdir()] == ["edge"]


@pytest.mark.slow
def test_a_picture_made_meanwhile_is_kept(tmp_path, decoder_only, monkeypatch, tiny_export):
    folder = shutil.copytree(tiny_export[1], tmp_path / "edge")
    real = litert_file.convert

    def convert(*args):
        (folder / "mine.png").write_bytes(b"picture")
        return real(*args)

    monkeypatch.setattr(litert_file, "convert", convert)
    with pytest.raises(ValueError, match="mine.png"):
        litert.export_litert(tiny_export[0], folder)
    assert (folder / "mine.png").exists() and (folder / "denoiser.tflite").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["edge"]


@pytest.mark.slow
def test_earlier_exports_are_replaced(tmp_path, decoder_only, tiny_export):
    folder = shutil.copytree(tiny_export[1], tmp_path / "edge")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "generate.cpython-312.pyc").write_bytes(b"compiled by Python")
    litert.export_litert(tiny_export[0], folder)
    assert not (tmp_path / "edge" / "denoiser.tflite").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["edge"]


@pytest.mark.slow
def test_a_file_that_answers_differently_is_found(tmp_path, decoder_only, monkeypatch, tiny_export):
    real = litert_file.run

    def wrong(content, inputs):
        return {name: value + 0.01 * value.std() for name, value in real(content, inputs).items()}

    monkeypatch.setattr(litert_file, "run", wrong)
    with pytest.raises(ValueError, match="text_encoder.tflite does not answer as Keras does: `context`"):
        litert.export_litert(tiny_export[0], tmp_path / "edge")
    assert not list(tmp_path.iterdir())


def test_pictures_are_compared_in_levels():
    picture = np.full((1, 8, 8, 3), 100, "uint8")
    assert litert._difference(picture + np.uint8(2), picture, "none") is None
    other = picture.copy()
    other[0, 3, 4, 1] += 3
    assert "3 levels of 255, 2 allowed" in litert._difference(other, picture, "none")
    assert "of its size" in litert._difference(picture * np.uint8(2), picture, "dynamic_int8")


@pytest.mark.slow
def test_a_padding_that_counts_is_found(tmp_path, monkeypatch, tiny_export):
    """The self-check hands over real prompts, of different lengths, with their padding."""
    pipeline = tiny_export[0]
    parts = litert_parts.parts(pipeline, 8, 2, True)
    example = litert._example_texts(pipeline, 8)
    for name, part in parts.items():
        inputs = litert._example(part.inputs, example)
        assert {key: (one.shape, one.dtype.name) for key, one in inputs.items()} == {
            key: (spec.shape, spec.dtype) for key, spec in part.inputs.items()
        }, name
    token_ids = litert._example(parts["text_encoder"].inputs, example)["token_ids"]
    np.testing.assert_array_equal(token_ids, pipeline.model.text_encoder.tokenize(["a red apple"]))
    mask = litert._example(parts["denoiser"].inputs, example)["context_mask"]
    assert mask.sum(axis=1).tolist() == [5, 2]  # the words and two marks
    real = litert_file.convert

    def unmasked(function, models, inputs):
        return real(lambda context_mask, **rest: function(context_mask=context_mask + 1.0, **rest), models, inputs)

    monkeypatch.setattr(litert, "parts", lambda *args: {"denoiser": parts["denoiser"]})
    monkeypatch.setattr(litert, "step_parts", lambda *args: {})
    monkeypatch.setattr(litert_file, "convert", unmasked)
    with pytest.raises(ValueError, match="denoiser.tflite does not answer as Keras does: `prediction`"):
        litert.export_litert(pipeline, tmp_path / "edge")


def test_what_the_converter_raises_names_the_part(tmp_path, monkeypatch, tiny_export):
    def convert(*args):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(litert_file, "convert", convert)
    with pytest.raises(ValueError, match="text_encoder.tflite can't be made: RuntimeError: out of luck"):
        litert.export_litert(tiny_export[0], tmp_path / "edge")
    assert not list(tmp_path.iterdir())


def test_the_libraries_of_the_page_come_before_the_work(tmp_path, monkeypatch, tiny_export):
    monkeypatch.setattr(litert_file, "convert", None)
    with pytest.raises(ValueError, match="`node_modules` must hold"):
        litert.export_litert(tiny_export[0], tmp_path / "edge", web=True, node_modules=tmp_path)
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
def test_wrong_options(options, message, tmp_path, tiny_export):
    with pytest.raises(ValueError, match=f"`{message}`.*Received"):
        litert.export_litert(tiny_export[0], tmp_path / "edge", **options)


def test_samplers_that_the_edge_lacks(tmp_path, tiny_export):
    pipeline = TextToImage.from_pipeline(tiny_export[0], sampler="heun")
    with pytest.raises(ValueError, match="`text_to_image.sampler` must ask the network once a step.*sampler='heun'"):
        litert.export_litert(pipeline, tmp_path / "edge")
    with pytest.raises(ValueError, match="`samplers` must be some of.*Received: samplers=\\['heun'\\]"):
        litert.export_litert(tiny_export[0], tmp_path / "edge", samplers=["heun"])
    assert not list(tmp_path.iterdir())


def test_which_samplers_are_exported():
    assert list(exported_samplers("lcm")) == ["lcm", *[name for name in CUT if name != "lcm"]]
    assert list(exported_samplers("lcm", [])) == ["lcm"]
    assert list(exported_samplers(DDIM(), ["euler", "ddim"])) == ["ddim", "euler"]
    own = DPMPP2M(temperature=0.7)
    assert exported_samplers(own, ["dpmpp_2m"]) == {"preset": own, "dpmpp_2m": DPMPP2M()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, prediction_type, kind",
    first_fast(
        [
            ("unipc", "latents", "rectified_flow"),
            ("dpmpp_2m", "noise", "scaled_linear"),
            ("ddim", "noise", "scaled_linear"),
            ("unipc", "noise", "scaled_linear"),
            ("dpmpp_2m", "latents", "rectified_flow"),
            ("ddim", "latents", "rectified_flow"),
        ]
    ),
)
def test_steps_answer_as_keras_does(name, prediction_type, kind, tiny_export):
    """A whole loop: each step on the values that the file gave the last time, from `start` on."""
    pipeline = tiny_export[0]
    stepper = Stepper(SAMPLERS[name](), NoiseSchedule(kind), prediction_type, pipeline.latent_shape)
    parts = {"start": _start(stepper), "advance": _advance(stepper)}
    runs = {key: runner_of(litert_file.convert(part.function, part.models, part.inputs)) for key, part in parts.items()}
    settings = {"seed": 7, "num_steps": 4, "first_step": 0, "guidance_scale": 3, "guidance_rescale": 0.5}
    values = {
        key: np.array([value], (parts["start"].inputs | parts["advance"].inputs)[key].dtype)
        for key, value in settings.items()
    }
    values |= {"latents": np.zeros((1, 4, 4, 3), "float32"), "repaint": np.ones((1, 4, 4, 1), "float32")}
    values["guidance_interval"] = np.array([[0.1, 1e30]], "float32")
    for step in range(5):
        part = "start" if step == 0 else "advance"
        values["prediction"] = normal(step, 2, 4, 4, 3)
        inputs = {key: values[key] for key in parts[part].inputs}
        received, expected = runs[part](**inputs), parts[part].function(**inputs)
        assert received.keys() == expected.keys()
        for key, value in received.items():
            np.testing.assert_allclose(value, expected[key], rtol=2e-5, atol=2e-5, err_msg=f"{key} in step {step}")
            assert np.isfinite(value).all()
        values |= received
    assert values["step"].tolist() == [4]


@pytest.mark.slow
@pytest.mark.parametrize("name", CUT)
def test_each_output_is_a_tensor_of_its_own(name, whole_export):
    """LiteRT.js gives an output that is the same tensor as another one under one name only."""
    from ai_edge_litert import schema_py_generated as schema

    for function in ("start", "advance"):
        model = schema.Model.GetRootAs((whole_export[1] / f"{function}_{name}.tflite").read_bytes(), 0)
        signature = model.SignatureDefs(0)
        found = [signature.Outputs(index).TensorIndex() for index in range(signature.OutputsLength())]
        assert len(set(found)) == len(found) > 2


def runner_of(content):
    from ai_edge_litert.interpreter import Interpreter

    litert_file.check(content)
    return Interpreter(model_content=bytes(content)).get_signature_runner()


def test_the_manifest_is_json_for_everybody(tiny_export):
    pipeline = TextToImage.from_pipeline(tiny_export[0], guidance_interval=(0.5, float("inf")))
    exported = exported_samplers(pipeline.sampler, [])
    parts = litert_parts.parts(pipeline, 8, 2, False) | step_parts(pipeline, exported)
    made = manifest(pipeline, parts, {}, dict.fromkeys(parts, "none"), exported)
    (row,) = (row for row in made["settings"] if row["name"] == "guidance_interval")
    assert row["default"] == [0.5, 1e30]
    json.dumps(made, allow_nan=False)


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
            lambda x: {"y": tf.math.betainc(dense(x), 0.5, 0.5)}, [dense], {"x": keras.InputSpec("float32", (2, 4))}
        )


def test_operators_that_some_runtimes_lack():
    import tensorflow as tf

    litert_file.check(converted(lambda x: tf.transpose(x, (3, 2, 1, 0)), 2, 3, 4, 5))
    with pytest.raises(ValueError, match=r"TRANSPOSE.*\(2, 3, 4, 5, 6\): its rank must be at most 4"):
        litert_file.check(converted(lambda x: tf.transpose(x, (4, 3, 2, 1, 0)), 2, 3, 4, 5, 6))
    with pytest.raises(ValueError, match=r"\(-1, 2\): its sizes"):
        litert_file.check(converted(tf.tanh, None, 2))
    with pytest.raises(ValueError, match="BROADCAST_TO"):
        litert_file.check(converted(lambda x: tf.broadcast_to(x, (5, 2)), 1, 2))
    with pytest.raises(ValueError, match="FlexStatelessRandom"):
        litert_file.check(converted(lambda x: x + tf.random.stateless_normal((2,), [1, 2]), 2, flex=True))
    counter = tf.Module()
    counter.count = tf.Variable(tf.zeros(2))
    with pytest.raises(ValueError, match="VAR_HANDLE"):
        litert_file.check(converted(lambda x: counter.count.assign_add(x), 2, module=counter))


def test_too_large(tiny_export):
    content = (tiny_export[1] / "decoder.tflite").read_bytes()
    litert_file.check(content, max_bytes=len(content))
    with pytest.raises(ValueError, match="larger than"):
        litert_file.check(content, max_bytes=len(content) - 1)
