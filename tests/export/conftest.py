import keras
import pytest
from harness import tiny_text_to_image

from latentdiff.export.saved_model.saved_model import export_saved_model


@pytest.fixture(scope="session")
def pipeline():
    keras.utils.set_random_seed(0)
    return tiny_text_to_image()


@pytest.fixture(scope="session")
def served(pipeline, made_once):
    """BASE/1 of the tiny pipeline, for prompts."""
    return made_once("tiny", lambda base: export_saved_model(pipeline, base / "1", max_steps=20)) / "1"


@pytest.fixture(scope="session")
def served_ids(pipeline, made_once):
    """BASE/1 of the tiny pipeline, for token ids."""
    options = {"token_ids": True, "max_steps": 20}
    return made_once("tiny-ids", lambda base: export_saved_model(pipeline, base / "1", **options)) / "1"
