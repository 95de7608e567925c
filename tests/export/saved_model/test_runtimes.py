"""The SavedModel in runtimes that are not ours: a program without Python, and a Python without Keras."""

import io
import pickle
import subprocess
import sys

import numpy as np
import pytest
from export.saved_model import session_host
from export.saved_model.serving_requests import LEVELS, expected, mixed, with_token_ids
from harness import gap, needs_tensorflow
from PIL import Image

pytestmark = needs_tensorflow
COUNTS = (1, 3, 8)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    reason = session_host.missing()
    if reason:
        pytest.skip(reason)
    program = session_host.build(tmp_path_factory.mktemp("host"))
    return lambda *arguments, **options: session_host.run(program, *arguments, **options)


# === A program without Python, XLA off ===


@pytest.mark.slow
def test_host_makes_pictures_of_prompts(host, served, pipeline):
    requests = [mixed(count) for count in COUNTS]
    answers = host(served, "serving_default", *requests, libraries=session_host.text_kernels())
    for request, answer in zip(requests, answers, strict=True):
        assert gap(answer["images"], expected(pipeline, request)) <= LEVELS
        assert list(answer["warnings"]) == [b""] * len(request["prompts"])


@pytest.mark.slow
def test_host_makes_png_files(host, served, pipeline):
    requests = [mixed(count) for count in COUNTS]
    answers = host(served, "png", *requests, libraries=session_host.text_kernels())
    for request, answer in zip(requests, answers, strict=True):
        assert gap(decoded(answer["image_bytes"]), expected(pipeline, request)) <= LEVELS


@pytest.mark.slow
def test_host_needs_no_tf_text_for_token_ids(host, served_ids, pipeline):
    requests = [mixed(count) for count in COUNTS]
    answers = host(served_ids, "serving_default", *(with_token_ids(pipeline, request) for request in requests))
    for request, answer in zip(requests, answers, strict=True):
        assert gap(answer["images"], expected(pipeline, request)) <= LEVELS


def decoded(contents):
    return [np.asarray(Image.open(io.BytesIO(content))) for content in contents]


@pytest.mark.slow
def test_host_bounds_malformed_values_in_their_rows(host, served, pipeline):
    """Row 0 and the last two are as they should be, and get their images."""
    request, near = mixed(8), mixed(8)
    request["guidance_scale"][1], near["guidance_scale"][1] = np.nan, 2.0
    request["num_steps"][2], near["num_steps"][2] = 0, 1
    request["num_steps"][3], near["num_steps"][3] = 10_000, 20
    texts = [*request["prompts"]]
    texts[4], near["prompts"][4] = "a" * 100_000, "a" * 10_000
    texts[5], near["prompts"][5] = b"red \xff\xfe cat", "red \ufffd\ufffd cat"
    request["prompts"] = np.array(texts, object)
    answer = host(served, "serving_default", request, libraries=session_host.text_kernels())
    assert gap(answer["images"], expected(pipeline, near)) <= LEVELS
    assert [bool(text) for text in answer["warnings"]] == [False, *[True] * 5, False, False]


@pytest.mark.slow
def test_host_fills_in_what_is_left_out(host, served_ids, pipeline):
    request = with_token_ids(pipeline, {"prompts": mixed(1)["prompts"]})
    answer = host(served_ids, "serving_default", request)
    drawn = pipeline.generate(mixed(1)["prompts"], seed=answer["seeds"])
    assert gap(answer["images"], drawn) <= LEVELS


@pytest.mark.slow
def test_host_without_tf_text_refuses_prompts(host, served):
    with pytest.raises(RuntimeError, match="not registered"):
        host(served, "serving_default", mixed(1))


MALFORMED = [
    {"num_steps": np.array([2.0], "float32")},  # wrong dtype
    {"seeds": np.array([1, 2], "int32")},  # two settings for three rows
    {"guidance_scale": np.ones((3, 1), "float32")},  # wrong rank
    {"token_ids": np.zeros((3, 5), "int32")},  # wrong number of tokens
    {"token_ids": np.zeros((0, 8), "int32"), "negative_token_ids": np.zeros((0, 8), "int32")},  # no rows
]


@pytest.mark.slow
def test_host_gets_invalid_argument_for_malformed_requests(host, served_ids, pipeline):
    """And goes on: what is asked after them is answered."""
    right = with_token_ids(pipeline, mixed(3))
    requests = [*({**right, **changes} for changes in MALFORMED), right]
    *answers, last = host(served_ids, "serving_default", *requests)
    for answer in answers:
        assert answer.keys() == {"error"} and answer["error"].item().startswith(b"code 3: ")  # TF_INVALID_ARGUMENT
    assert gap(last["images"], expected(pipeline, mixed(3))) <= LEVELS


# === A Python without Keras and without this package ===

BLOCKED = """
import pickle, sys

for name in ("keras", "keras_hub", "keras_nlp", "tf_keras", "latentdiff"):
    sys.modules[name] = None  # importing it fails
folder, kernels, jobs = pickle.load(sys.stdin.buffer)
import tensorflow as tf
for path in kernels:
    tf.load_op_library(path)
loaded = tf.saved_model.load(folder)
answers = []
for signature, request in jobs:
    tensors = {name: tf.constant(values) for name, values in request.items()}
    answers.append({name: value.numpy() for name, value in loaded.signatures[signature](**tensors).items()})
sys.stdout.buffer.write(pickle.dumps(answers))
"""


@pytest.mark.slow
@pytest.mark.parametrize("with_text", [True, False])
def test_a_process_without_keras(with_text, served, served_ids, pipeline, tmp_path):
    jobs = [(signature, count) for signature in ("serving_default", "png") for count in COUNTS]
    requests = {count: mixed(count) if with_text else with_token_ids(pipeline, mixed(count)) for count in COUNTS}
    kernels = session_host.text_kernels() if with_text else []  # the package tensorflow_text needs Keras, they don't
    folder = str(served if with_text else served_ids)
    job = pickle.dumps((folder, kernels, [(signature, requests[count]) for signature, count in jobs]))
    done = subprocess.run([sys.executable, "-c", BLOCKED], input=job, capture_output=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    for (signature, count), answer in zip(jobs, pickle.loads(done.stdout), strict=True):
        pictures = answer["images"] if signature == "serving_default" else decoded(answer["image_bytes"])
        assert gap(pictures, expected(pipeline, mixed(count))) <= LEVELS
