"""The SavedModel in runtimes that are not ours: a program without Python, and a Python without Keras."""

import io
import pickle
import subprocess
import sys

import numpy as np
import pytest
import session_host
from harness import gap, needs_tensorflow
from PIL import Image
from serving_requests import LEVELS, expected, mixed, with_token_ids

pytestmark = needs_tensorflow


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    reason = session_host.missing()
    if reason:
        pytest.skip(reason)
    program = session_host.build(tmp_path_factory.mktemp("host"))
    return lambda *arguments, **options: session_host.run(program, *arguments, **options)


# === A program without Python, XLA off ===


def test_host_makes_pictures_of_prompts(host, served, pipeline):
    answer = host(served, "serving_default", mixed(8), libraries=session_host.text_kernels())
    assert gap(answer["images"], expected(pipeline, mixed(8))) <= LEVELS
    assert list(answer["warnings"]) == [b""] * 8


def test_host_makes_png_files(host, served, pipeline):
    answer = host(served, "png", mixed(3), libraries=session_host.text_kernels())
    pictures = [np.asarray(Image.open(io.BytesIO(content))) for content in answer["image_bytes"]]
    assert gap(pictures, expected(pipeline, mixed(3))) <= LEVELS


def test_host_needs_no_tf_text_for_token_ids(host, served_ids, pipeline):
    answer = host(served_ids, "serving_default", with_token_ids(pipeline, mixed(3)))
    assert gap(answer["images"], expected(pipeline, mixed(3))) <= LEVELS


def test_host_fills_in_what_is_left_out(host, served_ids, pipeline):
    request = with_token_ids(pipeline, {"prompts": mixed(1)["prompts"]})
    answer = host(served_ids, "serving_default", request)
    assert (
        gap(answer["images"], expected(pipeline, {**mixed(1), "seeds": 0, "num_steps": 3, "guidance_scale": 2.0})) <= 2
    )


def test_host_without_tf_text_refuses_prompts(host, served):
    with pytest.raises(RuntimeError, match="not registered"):
        host(served, "serving_default", mixed(1))


@pytest.mark.parametrize(
    "changes",
    [
        {"num_steps": np.array([2.0], "float32")},  # wrong dtype
        {"seeds": np.array([1, 2], "int32")},  # two settings for three rows
        {"guidance_scale": np.ones((3, 1), "float32")},  # wrong rank
        {"token_ids": np.zeros((3, 5), "int32")},  # wrong number of tokens
        {"token_ids": np.zeros((0, 8), "int32"), "negative_token_ids": np.zeros((0, 8), "int32")},  # no rows
    ],
)
def test_host_gets_invalid_argument_for_malformed_requests(host, served_ids, pipeline, changes):
    with pytest.raises(RuntimeError, match="code 3: "):  # 3 is TF_INVALID_ARGUMENT
        host(served_ids, "serving_default", {**with_token_ids(pipeline, mixed(3)), **changes})


# === A Python without Keras and without this package ===

BLOCKED = """
import pickle, sys

for name in ("keras", "keras_hub", "keras_nlp", "tf_keras", "latentdiff"):
    sys.modules[name] = None  # importing it fails
folder, kernels, request = pickle.load(sys.stdin.buffer)
import tensorflow as tf
for path in kernels:
    tf.load_op_library(path)
loaded = tf.saved_model.load(folder)
tensors = {name: tf.constant(values) for name, values in request.items()}
answer = {name: value.numpy() for name, value in loaded.signatures["serving_default"](**tensors).items()}
sys.stdout.buffer.write(pickle.dumps(answer))
"""


@pytest.mark.parametrize("with_text", [True, False])
def test_a_process_without_keras(with_text, served, served_ids, pipeline, tmp_path):
    request = mixed(3) if with_text else with_token_ids(pipeline, mixed(3))
    kernels = session_host.text_kernels() if with_text else []  # the package tensorflow_text needs Keras, they don't
    job = pickle.dumps((str(served if with_text else served_ids), kernels, request))
    done = subprocess.run([sys.executable, "-c", BLOCKED], input=job, capture_output=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert gap(pickle.loads(done.stdout)["images"], expected(pipeline, mixed(3))) <= LEVELS
