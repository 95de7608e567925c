"""The dtype that a model was given comes back with its file; one that took the policy of the day takes it again."""

import keras
import pytest
from harness import tiny_autoencoder, tiny_unet

from latentdiff import DiT


def tiny_dit(**changes):
    return DiT(latent_shape=(4, 4, 3), context_dim=12, width=16, depth=1, num_heads=2, patch_size=2, **changes)


MAKERS = {"autoencoder": tiny_autoencoder, "unet": tiny_unet, "dit": tiny_dit}


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", keras.DTypePolicy("mixed_bfloat16")])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_given_dtype_is_kept(make, dtype, tmp_path):
    make(dtype=dtype).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.dtype_policy.name == "mixed_bfloat16"
    layers = [layer for layer in loaded._flatten_layers() if layer.name == "conv_in"]
    assert {layer.compute_dtype for layer in layers} <= {"bfloat16"}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_the_policy_of_the_day(make, tmp_path):
    make().save(tmp_path / "model.keras")
    assert "dtype" not in make().get_config()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert keras.saving.load_model(tmp_path / "model.keras").dtype_policy.name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
