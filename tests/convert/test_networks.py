import pytest

from latentdiff.convert import networks
from latentdiff.convert.configs import Config, read_json

UNET = {"block_out_channels": [32, 64], "cross_attention_dim": 16}
UNET |= {"down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"]}
UNET |= {"up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"]}
AUTOENCODER = {"block_out_channels": [32, 64]}
READERS = {
    "unet": (networks.unet_arguments, UNET),
    "autoencoder": (networks.autoencoder_arguments, AUTOENCODER),
    "text": (networks.text_arguments, {}),
}


def read(part, **changes):
    reader, values = READERS[part]
    return reader(Config({**values, **changes}, "unet/config.json"))


def test_levels_and_heads():
    arguments = read("unet", attention_head_dim=[5, 10], transformer_layers_per_block=[1, 2])
    assert arguments["attention_levels"] == (0,)
    assert arguments["num_heads"] == [5, 10]
    assert arguments["transformer_depth"] == [1, 2]
    assert read("unet", attention_head_dim=4, num_attention_heads=2)["num_heads"] == 2
    assert read("unet")["num_heads"] == 8  # the default of diffusers


@pytest.mark.parametrize("scale, shift", [(0.13025, None), (0.3611, 0.1159), (None, None)])
def test_statistics_undo_the_scale_of_diffusers(scale, shift):
    """latents = scaling_factor (z - shift_factor) = (z - mean) / std, here for z = 2."""
    _, (mean, std) = read("autoencoder", scaling_factor=scale, shift_factor=shift)
    assert (2.0 - mean) / std == pytest.approx((scale or 0.18215) * (2.0 - (shift or 0.0)))


@pytest.mark.parametrize(
    "part, changes, message",
    [
        ("unet", {"act_fn": "gelu"}, "`act_fn` in unet/config.json must be 'silu'. Received: act_fn='gelu'"),
        ("unet", {"class_embed_type": "timestep"}, "`class_embed_type` in .* is not supported.*'timestep'"),
        ("unet", {"new_switch": 0.5}, "`new_switch` in .* is not supported"),
        ("unet", {"up_block_types": ["UpBlock2D"] * 2}, "`down_block_types` in .*the same in reverse"),
        ("unet", {"down_block_types": ["AttnDownBlock2D", "DownBlock2D"]}, "`down_block_types` in .*Received"),
        ("unet", {"cross_attention_dim": None}, "must have an entry 'cross_attention_dim'"),
        ("autoencoder", {"use_quant_conv": False}, "`use_quant_conv` in .* must be True"),
        ("autoencoder", {"down_block_types": ["DownBlock2D"] * 2}, "must be 2 times DownEncoderBlock2D"),
        ("autoencoder", {"latents_mean": [0.1]}, "`latents_mean` in .* is not supported"),
        ("text", {"hidden_act": "relu"}, "`hidden_act` in .* must be 'quick_gelu' or 'gelu'"),
        ("text", {"model_type": "bert"}, "`model_type` in .* must be 'clip_text_model'"),
        ("text", {"layer_norm_eps": 1e-12}, "`layer_norm_eps` in .* must be 1e-05"),
    ],
)
def test_settings_without_a_counterpart(part, changes, message):
    with pytest.raises(ValueError, match=message):
        read(part, **changes)


@pytest.mark.parametrize("text, message", [("{", "can't be read as JSON"), ("[]", "must hold a JSON object")])
def test_damaged_config(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=f"config.json {message}"):
        read_json(tmp_path / "config.json")
