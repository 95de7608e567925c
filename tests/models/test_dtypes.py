"""The dtype that a model was given comes back with its file; one that took the policy of the day takes it again."""

import keras
import pytest
from harness import tiny_autoencoder, tiny_latent_diffusion, tiny_text_encoder, tiny_unet

from latentdiff import DiT, LatentDiffusion, TextEncoder
from latentdiff.models.losses import PatchDiscriminator


def tiny_dit(**changes):
    return DiT(latent_shape=(4, 4, 3), context_dim=12, width=16, depth=1, num_heads=2, patch_size=2, **changes)


MAKERS = {"autoencoder": tiny_autoencoder, "unet": tiny_unet, "dit": tiny_dit, "discriminator": PatchDiscriminator}


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


def test_a_given_dtype_of_the_text_encoder_and_of_its_backbone_is_kept():
    made = tiny_text_encoder()
    config = made.backbone.get_config()
    for dtype, kept in {"float32": "float32", "mixed_bfloat16": "mixed_bfloat16"}.items():
        backbone = type(made.backbone).from_config({**config, "dtype": dtype})
        encoder = TextEncoder(backbone, made.tokenizer, 8, dtype="mixed_bfloat16")
        copy = TextEncoder.from_config(encoder.get_config())
        assert (copy.dtype_policy.name, copy.backbone.dtype_policy.name) == ("mixed_bfloat16", kept)
    assert "dtype" not in made.get_config() and "dtype" not in made.get_config()["backbone"]["config"]


def test_a_given_dtype_of_the_training_model_is_kept():
    config = tiny_latent_diffusion().get_config()
    assert "dtype" not in config
    copy = LatentDiffusion.from_config({**config, "dtype": "mixed_bfloat16"})
    assert LatentDiffusion.from_config(copy.get_config()).dtype_policy.name == "mixed_bfloat16"
