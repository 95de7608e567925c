"""What a user sets for all of Keras, in keras.json or by `keras.config`, is no trouble for the package."""

import keras
import numpy as np
import pytest
from harness import compile_quietly, gap, normal, tiny_text_to_image

from latentdiff import TextToImage

DATA = {"latents": normal(0, 2, 4, 4, 3), "captions": ["a cat", "red"]}


@pytest.fixture
def settings():
    """Whatever a test sets is as before afterwards."""
    before = keras.config.floatx(), keras.config.image_data_format(), keras.config.dtype_policy()
    yield keras.config
    keras.config.set_floatx(before[0])
    keras.config.set_image_data_format(before[1])
    keras.config.set_dtype_policy(before[2])


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """The folder of a tiny preset, and an image of it, made with the settings that Keras comes with."""
    folder = tmp_path_factory.mktemp("preset")
    pipeline = tiny_text_to_image()
    pipeline.save_to_preset(folder)
    return folder, pipeline.generate("a red apple", seed=1)


def use(preset):
    """The image of the preset, opened with the settings of the day, and the loss of a step of training."""
    pipeline = TextToImage.from_preset(preset[0])
    picture = pipeline.generate("a red apple", seed=1)
    compile_quietly(pipeline.model, optimizer="sgd")
    return picture, float(pipeline.model.fit(DATA, verbose=0).history["loss"][0])


@pytest.mark.slow
def test_channels_first(settings, preset):
    settings.set_image_data_format("channels_first")
    picture, loss = use(preset)
    assert gap(picture, preset[1]) == 0 and np.isfinite(loss)


@pytest.mark.slow
@pytest.mark.parametrize("floatx, levels", [("float16", 8), ("bfloat16", 60), ("float64", 1)])
def test_floatx(floatx, levels, settings, preset):
    settings.set_floatx(floatx)
    settings.set_dtype_policy(floatx)
    picture, loss = use(preset)
    assert gap(picture, preset[1]) <= levels and np.isfinite(loss)


@pytest.mark.slow
def test_a_policy_of_bfloat16(settings, preset):
    settings.set_dtype_policy("bfloat16")
    picture, loss = use(preset)
    assert gap(picture, preset[1]) <= 60 and np.isfinite(loss)
