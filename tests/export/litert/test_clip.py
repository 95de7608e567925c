"""Models with a CLIP text encoder run on the edge: the tables of its tokenizer stay out of the LiteRT files."""

import importlib.util

import numpy as np
import pytest
from harness import needs_tensorflow, tiny_text_to_image
from models.test_text_encoder import make_clip

from latentdiff.export.litert import file as litert_file
from latentdiff.export.litert.litert import export_litert
from latentdiff.runtimes.edge import EdgePipeline

has_runtime = all(importlib.util.find_spec(name) for name in ("ai_edge_litert", "tokenizers"))
pytestmark = [needs_tensorflow, pytest.mark.skipif(not has_runtime, reason="needs ai-edge-litert and tokenizers")]


@pytest.mark.slow
def test_a_clip_text_encoder_on_the_edge(tmp_path):
    pipeline = tiny_text_to_image(text_encoder=make_clip(8))
    folder = export_litert(pipeline, tmp_path / "edge", samplers=[])
    names = {operator.name for operator in litert_file.operators((folder / "text_encoder.tflite").read_bytes())}
    assert not any("HASHTABLE" in name for name in names)
    runtime = EdgePipeline(folder)
    for prompt in ("cat", "a cat act"):
        np.testing.assert_array_equal(runtime.tokenize(prompt), pipeline.model.text_encoder.tokenize([prompt])[0])
        picture = runtime.generate(prompt, seed=3, num_steps=2, negative_prompts="bat")
        expected = pipeline.generate(prompt, seed=3, num_steps=2, negative_prompts="bat")
        assert expected.std() > 10
        np.testing.assert_allclose(picture.astype(int), expected, atol=2)
