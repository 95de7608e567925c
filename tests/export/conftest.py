import keras
import pytest
from harness import tiny_text_to_image

from latentdiff.export.saved_model import export_saved_model


@pytest.fixture(scope="session")
def pipeline():
    keras.utils.set_random_seed(0)
    return tiny_text_to_image()


@pytest.fixture(scope="session")
def served(pipeline, made_once):
    """BASE/1 of the tiny pipeline, for prompts."""

    def make(folder):
        export_saved_model(pipeline, folder / "tiny" / "1", max_steps=20)

    return made_once("serve", make) / "tiny" / "1"


@pytest.fixture(scope="session")
def served_ids(pipeline, made_once):
    """BASE/1 of the tiny pipeline, for token ids."""

    def make(folder):
        export_saved_model(pipeline, folder / "tiny-ids" / "1", token_ids=True, max_steps=20)

    return made_once("serve-ids", make) / "tiny-ids" / "1"
