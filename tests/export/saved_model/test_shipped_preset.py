"""The shipped preset as a SavedModel, in each runtime. Slow: it is written twice."""

import io

import numpy as np
import pytest
from export.saved_model import session_host
from export.saved_model.serving_requests import LEVELS, pick, with_token_ids
from harness import gap, needs_tensorflow
from PIL import Image

from latentdiff import TextToImage
from latentdiff.export.saved_model.saved_model import export_saved_model

pytestmark = [needs_tensorflow, pytest.mark.slow]

REQUEST = {
    "prompts": ["red apple, 3d", "grinning cat, flat", "", "police car, flat", "a rocket", "sun", "café", "猫"],
    "negative_prompts": ["", "black and white", "", "", "blue", "", "", "red"],
    "seeds": np.array([7, 8, 9, 10, 11, 12, 13, 14], "int32"),
    "num_steps": np.array([4, 1, 8, 2, 4, 3, 5, 4], "int32"),
    "guidance_scale": np.array([3.0, 1.0, 7.5, 2.0, 3.0, 3.0, 4.0, 1.5], "float32"),
}


@pytest.fixture(scope="module")
def pipeline():
    return TextToImage.from_preset("emoji-128")


@pytest.fixture(scope="module")
def right(pipeline):
    return pipeline.generate(**{("seed" if name == "seeds" else name): value for name, value in REQUEST.items()})


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if session_host.missing():
        pytest.skip(session_host.missing())
    return session_host.build(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def served(pipeline, tmp_path_factory):
    return export_saved_model(pipeline, tmp_path_factory.mktemp("served") / "emoji-128" / "1")


def test_prompts_without_python(served, right, program):
    for count in (1, 3, 8):
        request = {name: np.asarray(values)[:count] for name, values in REQUEST.items()}
        answer = session_host.run(program, served, "png", request, libraries=session_host.text_kernels())
        pictures = [np.asarray(Image.open(io.BytesIO(content))) for content in answer["image_bytes"]]
        assert gap(pictures, right[:count]) <= LEVELS


def test_token_ids_without_python(pipeline, right, program, tmp_path):
    folder = export_saved_model(pipeline, tmp_path / "emoji-128" / "1", token_ids=True)
    request = with_token_ids(pipeline, pick(REQUEST, range(8)))
    answer = session_host.run(program, folder, "serving_default", request)
    assert gap(answer["images"], right) <= LEVELS


def test_memory_stays_flat_over_versions(served, right, program):
    request = {name: np.asarray(values)[:1] for name, values in REQUEST.items()}
    libraries = session_host.text_kernels()
    answers, megabytes = session_host.run_afresh(
        program, served, "serving_default", *[request] * 6, libraries=libraries
    )
    assert max(gap(answer["images"], right[:1]) for answer in answers) <= LEVELS
    print("resident megabytes after each version:", megabytes)
    assert len(megabytes) == 6 and megabytes[-1] < 1.1 * megabytes[1]
