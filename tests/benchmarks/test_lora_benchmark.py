import keras
import numpy as np
import pytest
from harness import gap, randomize, tiny_text_to_image

from benchmarks import lora as benchmark
from latentdiff.convert.lora_files import save_lora


@pytest.mark.slow
def test_measure(tmp_path):
    """Where the training images are those that the adapter gives, the similarity with it is one."""
    pipeline = tiny_text_to_image()
    randomize(pipeline.model.lora.add(rank=2, targets=("linear", "convolution"))).scale.assign(1.0)
    expected = pipeline.generate(["a cat", "red"], seed=0, num_images=2)
    save_lora(tmp_path / "lora.safetensors", pipeline.model)
    pipeline.unload_lora()

    def features(images):
        return keras.ops.reshape(images, (len(images), -1))

    images, rows = benchmark.measure(pipeline, tmp_path / "lora.safetensors", ["a cat", "red"], expected, features, 2)
    assert gap(np.concatenate(images["adapted"]), expected) <= 1
    assert [row["prompt"] for row in rows] == ["a cat", "red"]
    assert all(row["adapted"] > 0.999 > 0.98 > row["plain"] for row in rows)
