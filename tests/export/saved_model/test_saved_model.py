import json
import os
import shutil

import numpy as np
import pytest
from export.saved_model.serving_requests import LEVELS, PROMPTS, expected, mixed, pick, with_token_ids
from harness import gap, needs_tensorflow, tiny_text_to_image
from PIL import Image

from latentdiff import TextToImage, cli
from latentdiff.export.saved_model import saved_model
from latentdiff.export.saved_model.check import foreign_ops
from latentdiff.export.saved_model.saved_model import export_saved_model
from latentdiff.export.saved_model.stored_weights import weights_of

pytestmark = needs_tensorflow

PICTURE_INPUTS = {
    "negative_prompts": ("string", (), b""),
    "seeds": ("int32", (), -1),
    "num_steps": ("int32", (), -1),
    "guidance_scale": ("float32", (), -1.0),
    "guidance_rescale": ("float32", (), -1.0),
    "guidance_interval": ("float32", (2,), -1.0),
}
NUMBERS = PICTURE_INPUTS.keys() - {"negative_prompts"}
BEGIN = {*NUMBERS, "first_step", "latents"}
SIGNATURES = {
    "serving_default": ({"prompts", *PICTURE_INPUTS}, {"images", "seeds", "warnings"}),
    "png": ({"prompts", *PICTURE_INPUTS}, {"image_bytes", "seeds", "warnings"}),
    "encode_text": ({"prompts"}, {"context", "context_mask", "warnings"}),
    "denoise": (
        {"noisy_latents", "timesteps", "context", "context_mask"},
        {"prediction", "pred_latents", "pred_noise"},
    ),
    "encode_image": ({"images"}, {"latents"}),
    "decode": ({"latents"}, {"images"}),
    "start": (BEGIN, {"noisy_latents", "step", "timesteps", *NUMBERS, "warnings"}),
    "advance": (
        {*BEGIN, "prediction", "negative_prediction", "noisy_latents", "step", "repaint"},
        {"noisy_latents", "step", "timesteps", "pred_latents", "warnings"},
    ),
}


@pytest.fixture(scope="module")
def signatures(served):
    return load(served)


@pytest.fixture(scope="module")
def id_signatures(served_ids):
    return load(served_ids)


def load(folder):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    functions = dict(loaded.signatures.items())
    functions["keep"] = loaded
    return functions


def call(function, request):
    import tensorflow as tf

    tensors = {name: tf.constant(values) for name, values in request.items()}
    return {name: value.numpy() for name, value in function(**tensors).items()}


def graph_of(folder):
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    return saved.meta_graphs[0]


# === Contract ===


def test_signatures(served):
    found = {name: value for name, value in graph_of(served).signature_def.items() if not name.startswith("__")}
    names = {name: (set(signature.inputs), set(signature.outputs)) for name, signature in found.items()}
    assert names == SIGNATURES
    for signature in found.values():
        for tensor in [*signature.inputs.values(), *signature.outputs.values()]:
            assert tensor.tensor_shape.dim[0].size == -1


@pytest.mark.slow
def test_all_but_the_prompts_may_be_left_out(served, signatures, pipeline):
    import tensorflow as tf

    for name in ("serving_default", "png"):
        signature = graph_of(served).signature_def[name]
        defaults = {key: tf.make_ndarray(value) for key, value in signature.defaults.items()}
        assert {key: (value.shape, value.flat[0]) for key, value in defaults.items()} == {
            key: ((1, *shape), value) for key, (_, shape, value) in PICTURE_INPUTS.items()
        }
    request = {"prompts": PROMPTS[:3], **defaults}  # as a server fills them in
    answer = call(signatures["serving_default"], request)
    assert len(set(answer["seeds"])) == 3 and (answer["seeds"] >= 0).all() and not any(answer["warnings"])
    assert gap(answer["images"], pipeline.generate(PROMPTS[:3], seed=answer["seeds"])) <= LEVELS
    again = call(signatures["serving_default"], request)
    assert set(again["seeds"]) != set(answer["seeds"])  # drawn anew


def test_weights_are_variables_and_nothing_asks_for_xla(served, pipeline):
    import tensorflow as tf

    graph = graph_of(served)
    weights = [variable.numpy() for variable in weights_of(pipeline.model)]
    reader = tf.train.load_checkpoint(str(served / "variables" / "variables"))
    stored = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if "VARIABLE_VALUE" in name}
    stored = [stored[f"weights/{index}/.ATTRIBUTES/VARIABLE_VALUE"] for index in range(len(stored))]
    assert [value.tobytes() for value in stored] == [value.tobytes() for value in weights]
    nodes = [*graph.graph_def.node, *(node for item in graph.graph_def.library.function for node in item.node_def)]
    constants = [tf.make_ndarray(node.attr["value"].tensor) for node in nodes if node.op == "Const"]
    constants = {value.tobytes() for value in constants if value.dtype == np.float32}
    telling = [value.tobytes() for value in weights if len(np.unique(value)) > 1]  # no zeros, no ones
    assert len(telling) > 50 and not constants & set(telling)
    assert b"_XlaMustCompile" not in graph.SerializeToString() or not any(
        function.attr["_XlaMustCompile"].b for function in graph.graph_def.library.function
    )
    assert "VarHandleOp" in {node.op for node in graph.graph_def.node}


@pytest.mark.slow
def test_only_the_form_for_prompts_needs_tf_text(served, served_ids):
    assert foreign_ops(graph_of(served))
    assert not foreign_ops(graph_of(served_ids))


@pytest.mark.parametrize("count", [1, 3, 8])
def test_pictures_are_those_of_generate(pipeline, signatures, count):
    request = mixed(count)
    pictures = expected(pipeline, request)
    assert pictures.std() > 10
    answer = call(signatures["serving_default"], request)
    assert answer["images"].dtype == np.uint8 and gap(answer["images"], pictures) <= LEVELS
    assert list(answer["warnings"]) == [b""] * count


@pytest.mark.slow
def test_pictures_of_token_ids_are_those_of_generate(pipeline, id_signatures):
    answer = call(id_signatures["serving_default"], with_token_ids(pipeline, mixed(3)))
    assert gap(answer["images"], expected(pipeline, mixed(3))) <= LEVELS


@pytest.mark.slow
def test_png(signatures, pipeline, tmp_path):
    answer = call(signatures["png"], mixed(3))
    raw = call(signatures["serving_default"], mixed(3))["images"]
    for index, content in enumerate(answer["image_bytes"]):
        (tmp_path / "picture.png").write_bytes(content)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "picture.png")), raw[index])


def test_a_rows_picture_does_not_depend_on_its_neighbours(signatures):
    request = mixed(8)
    together = call(signatures["serving_default"], request)["images"]
    turned = call(signatures["serving_default"], pick(request, range(7, -1, -1)))["images"]
    assert gap(together, turned[::-1]) <= LEVELS
    for row in (0, 5):
        alone = call(signatures["serving_default"], pick(request, [row]))["images"]
        assert gap(together[row : row + 1], alone) <= LEVELS


PARTS = {
    "encode_text": {"prompts": ["a", "b", "c"]},
    "denoise": {
        "noisy_latents": np.ones((3, 4, 4, 3), "float32"),
        "timesteps": np.array([5, 50, 500], "float32"),
        "context": np.ones((3, 8, 12), "float32"),
        "context_mask": np.ones((3, 8), bool),
    },
    "encode_image": {"images": np.zeros((3, 8, 8, 3), "uint8")},
    "decode": {"latents": np.zeros((3, 4, 4, 3), "float32")},
}


@pytest.mark.parametrize("name", [*PARTS, "serving_default", "png"])
def test_no_rows(signatures, name):
    import tensorflow as tf

    request = PARTS.get(name) or mixed(3)
    assert all(len(values) == 3 for values in call(signatures[name], request).values())
    none = {key: values[:0] if isinstance(values, np.ndarray) else np.zeros(0, "S1") for key, values in request.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match="A request must have at least one row"):
        call(signatures[name], none)


@pytest.mark.parametrize("name", PARTS["denoise"])
@pytest.mark.parametrize("count", [1, 2])
def test_parts_with_unequal_rows(signatures, name, count):
    """One row is not spread over the others: only a setting is."""
    import tensorflow as tf

    request = {**PARTS["denoise"], name: PARTS["denoise"][name][:count]}
    with pytest.raises(tf.errors.InvalidArgumentError, match="All inputs must have the same number of rows"):
        call(signatures["denoise"], request)


def test_the_parts_make_the_same_picture(pipeline, signatures):
    """A host that drives the loop itself: one step of DDIM by `encode_text`, `denoise` and `decode`."""
    from latentdiff.diffusion import noise

    text = call(signatures["encode_text"], {"prompts": ["a red apple"]})
    latents = np.asarray(noise.normal(np.array([5], "int32"), pipeline.latent_shape))
    inputs = {"noisy_latents": latents, "timesteps": np.array([999.0], "float32")}
    inputs |= {name: text[name] for name in ("context", "context_mask")}
    clean = call(signatures["denoise"], inputs)["pred_latents"]
    picture = call(signatures["decode"], {"latents": clean})["images"]
    assert gap(picture[0], pipeline.generate("a red apple", seed=5, num_steps=1, guidance_scale=1.0)) <= LEVELS


def test_encode_image(pipeline, signatures):
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype("uint8")
    latents = call(signatures["encode_image"], {"images": images})["latents"]
    np.testing.assert_allclose(latents, np.asarray(pipeline.model.autoencoder.encode(images)), atol=1e-4)


# === Odd requests ===


@pytest.mark.parametrize(
    "changes, same_as, words",
    [
        ({"num_steps": 0}, {"num_steps": 1}, "`num_steps` must be a whole number from 1 to 20; used 1. Received: 0."),
        ({"num_steps": -7}, {"num_steps": 1}, "Received: -7."),
        ({"num_steps": 10_000}, {"num_steps": 20}, "used 20. Received: 10000."),
        ({"num_steps": -1}, {"num_steps": 3}, ""),
        (
            {"guidance_scale": np.nan},
            {"guidance_scale": 2.0},
            "must be a number from 1 to 1000; used 2",
        ),
        ({"guidance_scale": np.inf}, {"guidance_scale": 1000.0}, "Received: inf."),
        ({"guidance_scale": -np.inf}, {"guidance_scale": 1.0}, "Received: -inf."),
        ({"guidance_scale": 0.5}, {"guidance_scale": 1.0}, "Received: 0.5."),
        ({"guidance_scale": -1.0}, {"guidance_scale": 2.0}, ""),
        ({"guidance_rescale": 1.5}, {"guidance_rescale": 1.0}, "must be a number from 0 to 1; used 1. Received: 1.5."),
        ({"guidance_interval": (3.0, 1.0)}, {"guidance_interval": (0.0, np.inf)}, "LOW < HIGH"),
        ({"guidance_interval": (-1.0, -1.0)}, {"guidance_interval": (0.0, np.inf)}, ""),
        ({"guidance_interval": (0.5, 2.0)}, {"guidance_interval": (0.5, 2.0)}, ""),
        ({"seeds": -5}, {"seeds": 0}, "`seeds` must be a whole number from 0 to 2147483647; used 0"),
        ({"seeds": 2**31 - 1}, {"seeds": 2**31 - 1}, ""),
        ({"prompts": b"red \xff\xfe cat"}, {"prompts": "red \ufffd\ufffd cat"}, "`prompts` is not UTF-8"),
        ({"prompts": "a" * 100_000}, {"prompts": "a" * 10_000}, "`prompts` was cut after 10000 bytes."),
        ({"negative_prompts": "cat " * 25_000}, {"negative_prompts": "cat " * 6}, "was cut after 10000 bytes."),
        ({"prompts": "red " * 9}, {"prompts": "red " * 6}, "`prompts` was cut by 3 tokens."),
    ],
)
def test_a_value_out_of_range_is_bounded_in_its_row_alone(pipeline, signatures, changes, same_as, words):
    request = mixed(3)
    odd = {name: [values[0], changes.get(name, values[1]), values[2]] for name, values in request.items()}
    odd = {name: np.asarray(values, request[name].dtype) if name in DTYPED else values for name, values in odd.items()}
    answer = call(signatures["serving_default"], odd)
    bounded = {name: [values[0], same_as.get(name, values[1]), values[2]] for name, values in request.items()}
    assert gap(answer["images"], expected(pipeline, bounded)) <= LEVELS
    assert [bool(text) for text in answer["warnings"]] == [False, bool(words), False]
    assert words in answer["warnings"][1].decode()


DTYPED = ("seeds", "num_steps", "guidance_scale", "guidance_rescale", "guidance_interval")


@pytest.mark.slow
def test_token_ids_out_of_range(pipeline, id_signatures):
    request = with_token_ids(pipeline, mixed(2))
    size = pipeline.model.text_encoder.backbone.vocabulary_size
    odd = {**request, "token_ids": np.array([[2, 10**6, 3, 0, 0, 0, 0, 0], [2, -4, 3, 0, 0, 0, 0, 0]], "int32")}
    near = {**request, "token_ids": np.clip(odd["token_ids"], 0, size - 1)}
    answer = call(id_signatures["serving_default"], odd)
    np.testing.assert_array_equal(answer["images"], call(id_signatures["serving_default"], near)["images"])
    assert all(f"`token_ids` must lie in [0, {size - 1}]" in text.decode() for text in answer["warnings"])


@pytest.mark.parametrize("name", ["negative_prompts", "seeds", "num_steps", "guidance_scale"])
def test_settings_for_another_number_of_rows(signatures, name):
    import tensorflow as tf

    request = mixed(3)
    one = call(signatures["serving_default"], {**request, name: request[name][:1]})
    repeated = {**request, name: [request[name][0]] * 3}
    np.testing.assert_array_equal(one["images"], call(signatures["serving_default"], repeated)["images"])
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"`{name}` must hold one value, or one for each row"):
        call(signatures["serving_default"], {**request, name: request[name][:2]})


def test_timesteps_that_are_none(signatures):
    """NaN and what lies outside of time leave the other rows alone."""
    latents = np.ones((4, 4, 4, 3), "float32")
    inputs = {
        "noisy_latents": latents,
        "context": np.ones((4, 8, 12), "float32"),
        "context_mask": np.ones((4, 8), bool),
    }
    odd = call(signatures["denoise"], {**inputs, "timesteps": np.array([5, np.nan, 1e30, -9], "float32")})
    near = call(signatures["denoise"], {**inputs, "timesteps": np.array([5, 0, 999, 0], "float32")})
    np.testing.assert_array_equal(odd["pred_latents"], near["pred_latents"])


# === Writing ===


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_the_bits(dtype, served_ids, tmp_path):
    """The export itself compares with Keras on the rounded weights; here it is the size, and that Keras' stay."""
    pipeline = tiny_text_to_image()
    before = [variable.numpy() for variable in pipeline.model.variables]
    folder = pipeline.export(tmp_path / "1", dtype=dtype, token_ids=True)
    data = "variables/variables.data-00000-of-00001"
    full = (served_ids / data).stat().st_size
    assert 0.5 * full < (folder / data).stat().st_size < 0.6 * full
    for variable, value in zip(pipeline.model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_what_is_written_beside_the_graph(served):
    card = json.loads((served / "assets.extra/latentdiff.json").read_text())
    assert card["inputs"] == "prompts" and card["max_steps"] == 20 and card["sequence_length"] == 8
    assert (served / "assets.extra/tokenizer/vocabulary.txt").read_text().startswith("[PAD]\n")
    assert os.stat(served).st_mode & 0o755 == 0o755


@pytest.mark.parametrize(
    "folder, options, message",
    [
        ("version", {}, "`folder` must be BASE/VERSION with a whole number"),
        ("1", {"dtype": "int8"}, "`dtype` must be one of.*Received: dtype='int8'"),
        ("1", {"max_steps": 2}, r"`max_steps` must lie in \[3, 1000\]. Received: max_steps=2"),
        ("1", {"max_steps": 1001}, "`max_steps` must lie in"),
        ("1", {"sampler": "typo"}, "`sampler` must be one of"),
    ],
)
def test_wrong_arguments(pipeline, tmp_path, folder, options, message):
    with pytest.raises(ValueError, match=message):
        export_saved_model(pipeline, tmp_path / folder, **options)
    assert not list(tmp_path.iterdir())


def test_a_version_is_never_replaced(pipeline, tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(ValueError, match="`folder` is there already, and a served version never changes"):
        export_saved_model(pipeline, tmp_path / "1")


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(pipeline, tmp_path, monkeypatch):
    import tensorflow as tf

    def save(module, folder, signatures):
        message = f"{{{{function_node __wrapped__SaveV2}}}} {folder}/variables; No space left on device [Op:SaveV2]"
        raise tf.errors.ResourceExhaustedError(None, None, message)

    monkeypatch.setattr(tf.saved_model, "save", save)
    with pytest.raises(OSError, match="^/.*/variables; No space left on device$"):
        export_saved_model(pipeline, tmp_path / "1")
    assert not list(tmp_path.rglob("*.pb")) and not (tmp_path / "1").exists()


def test_a_failed_check_leaves_nothing(pipeline, tmp_path, monkeypatch):
    def write(signatures, folder, name):
        (folder / "saved_model.pb").write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(saved_model, "_write", write)
    with pytest.raises(OSError, match="disk full"):
        export_saved_model(pipeline, tmp_path / "base" / "1")
    assert not list((tmp_path / "base").iterdir())


# === What the export finds in what it wrote ===


def without_a_signature(graph):
    del graph.signature_def["png"]


def with_a_fixed_batch(graph):
    graph.signature_def["decode"].inputs["latents"].tensor_shape.dim[0].size = 8


def with_xla(graph):
    graph.graph_def.library.function[0].attr["_XlaMustCompile"].b = True


def with_a_call_by_xla(graph):
    function = next(item for item in graph.graph_def.library.function if item.node_def)
    function.node_def[0].attr["_XlaMustCompile"].b = True


def with_a_foreign_op(graph):
    function = next(item for item in graph.graph_def.library.function if item.node_def)
    function.node_def[0].op = "WordpieceTokenizeWithOffsets"


def unspoilt(graph):
    pass


@pytest.fixture
def export_of_spoilt(pipeline, served_ids, tmp_path, monkeypatch):
    """Function that exports to BASE/1, where what is written is that of `served_ids`, with its graph spoilt."""

    def export(spoil):
        def write(signatures, folder, name):
            from tensorflow.core.protobuf import saved_model_pb2

            shutil.copytree(served_ids, folder, dirs_exist_ok=True)
            saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
            spoil(saved.meta_graphs[0])
            (folder / "saved_model.pb").write_bytes(saved.SerializeToString())

        monkeypatch.setattr(saved_model, "_write", write)
        return export_saved_model(pipeline, tmp_path / "base" / "1", token_ids=True, max_steps=20)

    return export


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil, message",
    [
        (without_a_signature, "must have signatures .*'png'.*Received: .*'decode', 'denoise'"),
        (with_a_fixed_batch, "latents of signature decode must have any batch in front"),
        (with_xla, "TF Serving runs without XLA, which these functions ask for: .'__inference_"),
        (with_a_call_by_xla, "TF Serving runs without XLA"),
        (with_a_foreign_op, "TensorFlow's own operators. Received: .'WordpieceTokenizeWithOffsets'"),
    ],
)
def test_a_spoilt_graph_is_found_and_leaves_nothing(export_of_spoilt, tmp_path, spoil, message):
    with pytest.raises(ValueError, match=message):
        export_of_spoilt(spoil)
    assert not list((tmp_path / "base").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("levels", [1, 3])
def test_other_pictures_than_keras_makes_are_found(export_of_spoilt, pipeline, tmp_path, monkeypatch, levels):
    """Where the file and Keras agree but for rounding, 1 level more is let pass, 3 are not."""
    make = pipeline.generate

    def generate(*args, **kwargs):
        pictures = make(*args, **kwargs)
        return np.where(pictures < 128, pictures + levels, pictures - levels).astype("uint8")

    monkeypatch.setattr(pipeline, "generate", generate)
    if levels == 1:
        assert export_of_spoilt(unspoilt) == tmp_path / "base" / "1"
        assert {path.name for path in (tmp_path / "base").iterdir()} == {"1", "serving"}
        return
    with pytest.raises(ValueError, match="images are [34] of 255 levels away from Keras', 2 are allowed"):
        export_of_spoilt(unspoilt)
    assert not list((tmp_path / "base").iterdir())


@pytest.mark.slow
def test_a_version_is_not_there_before_its_serving_files(export_of_spoilt, tmp_path, monkeypatch):
    def write_serving_files(folder):
        raise OSError("disk full")

    monkeypatch.setattr(saved_model, "write_serving_files", write_serving_files)
    with pytest.raises(OSError, match="disk full"):
        export_of_spoilt(unspoilt)
    assert not list((tmp_path / "base").iterdir())


def test_weights_that_half_precision_cannot_hold(tmp_path):
    pipeline = tiny_text_to_image()
    pipeline.model.unet.trainable_variables[0].assign_add(1e5)
    with pytest.raises(ValueError, match="`dtype` 'float16' can't hold the weights"):
        export_saved_model(pipeline, tmp_path / "1", dtype="float16")


def test_command(pipeline, served, tmp_path, monkeypatch, capsys):
    asked = []

    def export(self, folder, **options):
        asked.append((folder, options))

    pipeline.save_to_preset(tmp_path / "preset")
    monkeypatch.setattr(TextToImage, "export", export)
    folder = tmp_path / "model" / "1"
    arguments = ["export", "saved-model", "--preset", str(tmp_path / "preset"), "--output"]
    assert cli.main([*arguments, str(folder), "--dtype", "float16", "--token-ids", "--max-steps", "30"]) == 0
    assert asked == [(folder, {"dtype": "float16", "token_ids": True, "max_steps": 30})]
    assert capsys.readouterr().out == f"{folder}\n"
    assert cli.main([*arguments, str(served)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert cli.main([*arguments, str(tmp_path / "model")]) == 2
    assert "must be BASE/VERSION" in capsys.readouterr().err


# === Keras' own export ===

SLOW_PARTS = ("unet", "encoder", "decoder")


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", ["text_encoder", "autoencoder", *(pytest.param(part, marks=pytest.mark.slow) for part in SLOW_PARTS)]
)
def test_keras_exports_each_part(pipeline, part, tmp_path):
    import tensorflow as tf

    model, autoencoder = pipeline.model, pipeline.model.autoencoder
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.standard_normal(shape).astype("float32")

    inputs = {
        "text_encoder": lambda: model.text_encoder.tokenize(["a cat", "red"]),
        "unet": lambda: {
            "noisy_latents": draw(2, 4, 4, 3),
            "timesteps": np.array([3, 900], "float32"),
            "context": draw(2, 8, 12),
            "context_mask": np.ones((2, 8), bool),
        },
        "autoencoder": lambda: np.tanh(draw(2, 8, 8, 3)),
        "encoder": lambda: draw(2, 8, 8, 3),
        "decoder": lambda: draw(2, 4, 4, 3),
    }[part]()
    network = getattr(autoencoder, part) if part in ("encoder", "decoder") else getattr(model, part)
    before = network(inputs)
    network.export(str(tmp_path / part), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / part))
    np.testing.assert_allclose(loaded.serve(inputs), before, rtol=1e-4, atol=1e-4)
