"""Exports of a pipeline with adapters answer as it does."""

import importlib.util

import numpy as np
import pytest
from harness import gap, needs_tensorflow, randomize, tiny_text_to_image

has_runtime = importlib.util.find_spec("ai_edge_litert") is not None
pytestmark = [needs_tensorflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def adapted():
    """A pipeline with an adapter, an image of it, and one of it without."""
    pipeline = tiny_text_to_image()
    before = pipeline.generate("a red apple", seed=7)
    randomize(pipeline.model.lora.add(rank=2, targets=("linear", "convolution"), parts=("unet", "text_encoder")))
    image = pipeline.generate("a red apple", seed=7)
    assert gap(image, before) > 20
    return pipeline, image


def test_saved_model(adapted, tmp_path):
    import tensorflow as tf

    pipeline, image = adapted
    pipeline.export(tmp_path / "1", max_steps=5)
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    defaults = {name: [-1.0] for name in ("guidance_scale", "guidance_rescale")} | {"guidance_interval": [[-1.0, -1.0]]}
    request = {"prompts": ["a red apple"], "negative_prompts": [""], "seeds": [7], "num_steps": [-1], **defaults}
    served = loaded.signatures["serving_default"](**{name: tf.constant(value) for name, value in request.items()})
    assert gap(served["images"].numpy()[0], image) <= 2
    assert list(pipeline.model.lora) == ["lora"] and gap(pipeline.generate("a red apple", seed=7), image) == 0


@pytest.mark.skipif(not has_runtime, reason="needs ai-edge-litert")
def test_litert(adapted, tmp_path):
    from latentdiff.runtimes.edge import EdgePipeline

    pipeline, image = adapted
    pipeline.export_litert(tmp_path / "edge")
    assert gap(np.asarray(EdgePipeline(tmp_path / "edge").generate("a red apple", seed=7)), image) <= 2
