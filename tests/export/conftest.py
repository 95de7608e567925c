import keras
import pytest
from harness import tiny_text_to_image

from latentdiff.export.saved_model import export_saved_model


@pytest.fixture(scope="session")
def pipeline():
    keras.utils.set_random_seed(0)
    return tiny_text_to_image()


@pytest.fixture(scope="session")
def served(pipeline, tmp_path_factory):
    """BASE/1 of the tiny pipeline, for prompts."""
    return export_saved_model(pipeline, tmp_path_factory.mktemp("serve") / "tiny" / "1", max_steps=20)


@pytest.fixture(scope="session")
def served_ids(pipeline, tmp_path_factory):
    """BASE/1 of the tiny pipeline, for token ids."""
    folder = tmp_path_factory.mktemp("serve") / "tiny-ids" / "1"
    return export_saved_model(pipeline, folder, token_ids=True, max_steps=20)
