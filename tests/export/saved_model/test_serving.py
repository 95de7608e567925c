"""Clients, official messages and a test double of TF Serving, end to end."""

import concurrent.futures
import shutil
import threading
import time

import numpy as np
import pytest
from export.saved_model.serving_requests import LEVELS, PROMPTS, expected, mixed, pick
from harness import gap, needs_tensorflow

from latentdiff.export.saved_model.stored_weights import weights_of
from latentdiff.export.saved_model.warmup import WARMUP_FILE
from latentdiff.settings.prompt_syntax import escape

pytestmark = needs_tensorflow
pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")


@pytest.fixture(scope="module")
def base(served, tmp_path_factory):
    """A copy of BASE that versions can be added to."""
    return shutil.copytree(served.parent, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def double(base):
    from export.saved_model.serving_double import ServingDouble

    double = ServingDouble(base)
    yield double
    double.stop()


@pytest.fixture(scope="module")
def stub(double):
    import grpc
    from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

    with grpc.insecure_channel(f"127.0.0.1:{double.port}") as channel:
        yield PredictionServiceStub(channel)


def message(request, signature="serving_default"):
    import tensorflow as tf
    from tensorflow_serving.apis.predict_pb2 import PredictRequest

    built = PredictRequest()
    built.model_spec.name, built.model_spec.signature_name = "tiny", signature
    for name, values in request.items():
        built.inputs[name].CopyFrom(tf.make_tensor_proto(np.array(values) if name == "guidance_interval" else values))
    return built


def ask(stub, request, **options):
    import tensorflow as tf

    response = stub.Predict(message(request, **options), timeout=60)
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


# === Messages ===


def test_warmup_requests_are_official_messages(served):
    import tensorflow as tf
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    path = str(served / "assets.extra" / "tf_serving_warmup_requests")
    logs = [PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(path)]
    found = []
    for log in logs:
        request = log.predict_log.request
        count = request.inputs["prompts"].tensor_shape.dim[0].size
        arrays = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        assert request == message(arrays, request.model_spec.signature_name)
        assert all(len(value) == count for value in arrays.values()) and list(arrays["num_steps"]) == [1] * count
        found.append((request.model_spec.signature_name, count))
    assert sorted(found) == [(name, count) for name in ("png", "serving_default") for count in (1, 2, 4, 8)]


def test_warmup_is_replayed(double):
    assert double.version.warmed_up == 8


@pytest.mark.parametrize("count", [1, 3, 8])
def test_pictures_over_grpc(stub, pipeline, count):
    answer = ask(stub, mixed(count))
    assert gap(answer["images"], expected(pipeline, mixed(count))) <= LEVELS


def test_one_prompt_and_nothing_else(stub, pipeline):
    answer = ask(stub, {"prompts": ["a cat"]})
    assert gap(answer["images"][0], pipeline.generate("a cat", seed=answer["seeds"][0])) <= LEVELS


# === Batches ===


def test_requests_share_batches_and_nobody_notices(stub, double, pipeline, monkeypatch):
    request = mixed(7)
    double.batcher.sizes.clear()
    monkeypatch.setattr(double.batcher, "wait", 0.3)
    with concurrent.futures.ThreadPoolExecutor(7) as pool:
        answers = list(pool.map(lambda row: ask(stub, pick(typed(request), [row])), range(7)))
    assert gap(np.concatenate([answer["images"] for answer in answers]), expected(pipeline, request)) <= LEVELS
    assert sum(rows for rows, _ in double.batcher.sizes) == 7
    assert len(double.batcher.sizes) < 7  # some did share
    assert all(run in (1, 2, 4, 8) and rows <= run < 2 * rows for rows, run in double.batcher.sizes)


def typed(request):
    """Lists of numpy numbers, which keep their types when picked."""
    return {name: list(values) for name, values in request.items()}


def test_a_malformed_row_does_not_fail_its_neighbours(stub, double, pipeline, monkeypatch):
    request = typed(mixed(8))
    request["guidance_scale"][1] = np.float32("nan")
    request["num_steps"][2] = np.int32(0)
    request["num_steps"][3] = np.int32(10_000)
    request["prompts"][4] = b"\xff\xfe" + b"x" * 100_000
    double.batcher.sizes.clear()
    monkeypatch.setattr(double.batcher, "wait", 60)  # a batch runs as soon as it is full
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda row: ask(stub, pick(request, [row])), range(8)))
    assert double.batcher.sizes == [(8, 8)]  # they were neighbours
    assert [bool(answer["warnings"][0]) for answer in answers] == [False, *[True] * 4, *[False] * 3]
    pictures = expected(pipeline, mixed(8))
    for row in (0, 5, 6, 7):
        assert gap(answers[row]["images"][0], pictures[row]) <= LEVELS


@pytest.mark.parametrize(
    "changes, signature",
    [
        ({"num_steps": np.array([2.0], "float32")}, "serving_default"),
        ({"seeds": np.array([1, 2], "int32")}, "serving_default"),
        ({"guidance_scale": np.ones((1, 1), "float32")}, "serving_default"),
        (pick(mixed(8), [*range(8), 0]), "serving_default"),  # more rows than a batch holds
        ({"unknown": np.ones(1, "float32")}, "serving_default"),
        ({}, "typo"),
    ],
)
def test_malformed_requests(stub, changes, signature):
    import grpc

    with pytest.raises(grpc.RpcError) as refused:
        ask(stub, {**typed(mixed(1)), **changes}, signature=signature)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


# === Versions ===


@pytest.fixture
def two_versions(served, pipeline, tmp_path):
    """BASE with version 1, a folder with version 2 of other weights, and the images that each must give."""
    mean = pipeline.model.autoencoder.latent_mean
    before = mean.numpy()
    shutil.copytree(served.parent, tmp_path / "tiny")
    (tmp_path / "tiny" / "1" / "assets.extra" / WARMUP_FILE).unlink()  # one of the two is enough
    shutil.copytree(served, tmp_path / "2")
    give_other_weights(tmp_path / "2", len(weights_of(pipeline.model)) - 2, before + 1.0)  # see `weights_of`
    right = {1: pipeline.generate(PROMPTS[:4], seed=[0, 1, 2, 3])}
    mean.assign(before + 1.0)
    right[2] = pipeline.generate(PROMPTS[:4], seed=[0, 1, 2, 3])
    mean.assign(before)
    assert all(gap(*pictures) > LEVELS for pictures in zip(right[1], right[2], strict=True))
    return tmp_path / "tiny", tmp_path / "2", right


def give_other_weights(folder, index, values):
    """Replaces one of the variables of a SavedModel."""
    import tensorflow as tf

    prefix = str(folder / "variables" / "variables")
    reader = tf.train.load_checkpoint(prefix)
    tensors = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    name = f"weights/{index}/.ATTRIBUTES/VARIABLE_VALUE"
    assert tensors[name].shape == values.shape
    tensors[name] = values
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=list(tensors), shape_and_slices=[""] * len(tensors), tensors=list(tensors.values())
    )


@pytest.mark.slow
def test_a_new_version_takes_over_under_load(two_versions):
    """Four clients never stop asking while version 2 is loaded and takes over."""
    import grpc
    import tensorflow as tf
    from export.saved_model.serving_double import ServingDouble
    from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

    base, second, right = two_versions
    double = ServingDouble(base)
    seen, failures, swapped, stopped = [], [], threading.Event(), threading.Event()

    def load(index):
        request = message({"prompts": [PROMPTS[index]], "seeds": np.array([index], "int32")})
        with grpc.insecure_channel(f"127.0.0.1:{double.port}") as channel:
            while not stopped.is_set():
                late = swapped.is_set()
                try:
                    response = PredictionServiceStub(channel).Predict(request, timeout=60)
                except grpc.RpcError as error:
                    failures.append(error)
                    return
                version = response.model_spec.version.value
                seen.append((late, version))
                if gap(tf.make_ndarray(response.outputs["images"])[0], right[version][index]) > LEVELS:
                    failures.append(f"client {index} got another image than that of version {version}")

    threads = [threading.Thread(target=load, args=(index,)) for index in range(4)]
    try:
        for thread in threads:
            thread.start()
        while len(seen) < 4 and not failures:
            time.sleep(0.01)
        second.rename(base / "2")
        double.reload()
        swapped.set()
        while sum(late for late, _ in seen) < 8 and not failures:
            time.sleep(0.01)
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
        double.stop()
    assert not failures
    assert seen[0] == (False, 1)
    assert all(version == 2 for late, version in seen if late)


# === Clients ===


@pytest.fixture(params=["grpc", "rest"])
def client(request, double):
    from latentdiff.runtimes.client import Client

    server = f"127.0.0.1:{double.port}" if request.param == "grpc" else f"http://127.0.0.1:{double.rest_port}"
    return Client(server, "tiny", timeout=60)


def test_client_gives_what_generate_gives(client, pipeline):
    picture = client.generate("a red apple", seed=1)
    assert picture.dtype == np.uint8 and gap(picture, pipeline.generate("a red apple", seed=1)) <= LEVELS
    request = {name: values for name, values in mixed(3).items() if name != "seeds"}
    arguments = {**request, "seed": [1, 2, 3], "num_images": 2}
    pictures = client.generate(**arguments, batch_size=4)
    assert gap(pictures, pipeline.generate(**arguments)) <= LEVELS
    assert gap(*client.generate(["a cat", "a cat"])) > LEVELS  # fresh seeds


def test_client_takes_backslashes_off_as_generate_does(client, pipeline):
    prompt, negative = r"red \(cat\)", r"blue\|small"
    right = pipeline.generate(prompt, negative_prompts=negative, seed=1)
    words = pipeline.generate(escape(prompt), negative_prompts=escape(negative), seed=1)
    assert gap(right, words) > LEVELS
    assert gap(client.generate(prompt, negative_prompts=negative, seed=1), right) <= LEVELS


def test_client_says_what_the_server_changed(client):
    with pytest.warns(UserWarning, match="`num_steps` must be a whole number from 1 to 20; used 20. Received: 500."):
        client.generate("a cat", seed=1, num_steps=500)


def test_client_asks_again_while_the_server_is_busy(client, double, pipeline):
    double.failing = 2
    assert gap(client.generate("a cat", seed=1), pipeline.generate("a cat", seed=1)) <= LEVELS
    assert double.failing == 0


def test_client_gives_up(client, double):
    double.failing = 100
    client.retries = 2
    try:
        with pytest.raises(ConnectionError, match="on purpose"):
            client.generate("a cat", seed=1)
        assert double.failing == 97
    finally:
        double.failing = 0


def test_client_names_an_unknown_model(double):
    from latentdiff.runtimes.client import Client

    for server in (f"127.0.0.1:{double.port}", f"http://127.0.0.1:{double.rest_port}"):
        with pytest.raises(ValueError, match="Servable not found: other"):
            Client(server, "other").generate("a cat")


def test_rest_as_documented(double, pipeline):
    """The example of docs/serving.md, with the defaults spelled out."""
    import base64
    import io
    import json
    import re
    import urllib.error
    import urllib.request
    from pathlib import Path

    from PIL import Image

    page = (Path(__file__).parents[3] / "docs" / "serving.md").read_text()
    body = json.loads(re.search(r"-d '(\{.*?\}\})'", page, re.DOTALL)[1])
    url = f"http://127.0.0.1:{double.rest_port}/v1/models/tiny:predict"
    with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=60) as response:
        outputs = json.load(response)["outputs"]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(outputs["image_bytes"][0]["b64"]))))
    assert gap(picture, pipeline.generate(body["inputs"]["prompts"][0], seed=outputs["seeds"][0])) <= LEVELS
    del body["inputs"]["seeds"]
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(url, json.dumps(body).encode(), timeout=60)


def test_generate_from_a_shell(double, pipeline, tmp_path, monkeypatch, capsys):
    from PIL import Image

    from latentdiff import cli

    monkeypatch.chdir(tmp_path)
    arguments = ["generate", "a red apple", "a cat", "--seed", "7", "--num-steps", "2", "--output", "out"]
    server = ["--server", f"127.0.0.1:{double.port}", "--preset", "tiny"]
    assert cli.main([*arguments, *server]) == 0
    names = capsys.readouterr().out.split()
    assert names == ["out/a-red-apple-seed-7.png", "out/a-cat-seed-7.png"]
    pictures = [np.asarray(Image.open(name)) for name in names]
    assert gap(pictures, pipeline.generate(["a red apple", "a cat"], seed=7, num_steps=2)) <= LEVELS
    assert cli.main([*arguments[:1], r"a \(red\) cat", *arguments[3:], *server]) == 0
    (name,) = capsys.readouterr().out.split()
    assert gap(np.asarray(Image.open(name)), pipeline.generate(r"a \(red\) cat", seed=7, num_steps=2)) <= LEVELS
    assert "`sampler`" in refused(capsys, cli, [*arguments, *server, "--sampler", "ddpm"], 2)
    assert "HOST:PORT" in refused(capsys, cli, [*arguments, "--server", "nowhere"], 2)
    assert "Servable not found" in refused(capsys, cli, [*arguments, *server[:2], "--preset", "other"], 1)


def refused(capsys, cli, arguments, code):
    assert cli.main(arguments) == code
    return capsys.readouterr().err
