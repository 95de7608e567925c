import keras
import numpy as np
import pytest
from harness import arrays, normal, randomize, tiny_autoencoder, tiny_text_to_image, tiny_unet

from latentdiff import DiT, TextToImage


def dit():
    return randomize(DiT((4, 4, 3), 12, width=16, depth=1, num_heads=2))


@pytest.mark.slow
@pytest.mark.parametrize("part", ["autoencoder", "text_encoder"])
def test_other_int8_parts_are_kept(part, tmp_path):
    pipeline = tiny_text_to_image(autoencoder=tiny_autoencoder(middle_attention=True))
    quantized = getattr(pipeline.model, part)
    quantized.quantize("int8")
    assert any(variable.dtype == "int8" for variable in quantized.variables)
    pipeline.save_to_preset(tmp_path)
    opened = TextToImage.from_preset(tmp_path)
    np.testing.assert_array_equal(opened.generate("a cat", seed=1), pipeline.generate("a cat", seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda: randomize(tiny_unet()), dit])
def test_an_int8_network_is_kept(make, tmp_path):
    """In a `.keras` file and in a preset; a plain network's config does not speak of it."""
    network = make()
    assert "quantization" not in network.get_config()
    pipeline = tiny_text_to_image(unet=network)
    network.quantize("int8")
    assert any(variable.dtype == "int8" for variable in network.variables)
    inputs = {"noisy_latents": normal(0, 1, 4, 4, 3), "timesteps": np.array([500.0], "float32")}
    inputs |= {"context": normal(1, 1, 3, 12), "context_mask": np.ones((1, 3), "bool")}
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(arrays(loaded(inputs)), arrays(network(inputs)))
    pipeline.save_to_preset(tmp_path / "preset")
    opened = TextToImage.from_preset(tmp_path / "preset")
    np.testing.assert_array_equal(opened.generate("a cat", seed=1), pipeline.generate("a cat", seed=1))
