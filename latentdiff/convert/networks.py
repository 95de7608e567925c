"""Configs of diffusers' networks as arguments of ours, and back.

The defaults here are those of diffusers and transformers.
"""

from latentdiff.models.clip_pair import ClipPair

DOWN, CROSS_DOWN = "DownBlock2D", "CrossAttnDownBlock2D"
UP, CROSS_UP = "UpBlock2D", "CrossAttnUpBlock2D"
# What the networks are here, and what diffusers lets one choose.
UNET = {
    "act_fn": "silu",
    "attention_type": "default",
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "norm_eps": 1e-5,
    "resnet_out_scale_factor": 1.0,
    "resnet_time_scale_shift": "default",
    "time_embedding_type": "positional",
}
NUM_SIZES = 6
AUTOENCODER = {"act_fn": "silu", "in_channels": 3, "out_channels": 3}
AUTOENCODER |= {"use_quant_conv": True, "use_post_quant_conv": True}
TEXT = {"layer_norm_eps": 1e-5, "model_type": "clip_text_model"}


def unet_arguments(config):
    """Arguments of `UNet` from the `Config` of a `UNet2DConditionModel`, but for `num_tokens`; for latents of any size.

    Raises:
        ValueError: a setting that `UNet` does not have; names it.
    """
    widths = tuple(config.need("block_out_channels"))
    channels, in_channels = config.take("out_channels", 4), config.take("in_channels", 4)
    if in_channels not in (channels, 2 * channels + 1):
        raise ValueError(
            f"`in_channels` in {config.path} must be {channels}, or {2 * channels + 1} for inpainting. "
            f"Received: {in_channels=}"
        )
    levels = _attention_levels(config, widths)
    heads = config.take("attention_head_dim", 8)  # of old, diffusers calls the number of heads so
    arguments = {
        "latent_shape": (None, None, channels),
        "context_dim": config.need("cross_attention_dim"),
        "widths": widths,
        "num_blocks": config.take("layers_per_block", 2),
        "attention_levels": levels,
        "num_heads": config.take("num_attention_heads", heads),
        "transformer_depth": config.take("transformer_layers_per_block", 1),
        "linear_projection": config.take("use_linear_projection", False),
        "groups": config.take("norm_num_groups", 32),
        "dropout": config.take("dropout", 0.0),
        "sees_mask": in_channels > channels,
        **_added_embedding(config),
    }
    config.expect(**UNET)
    config.ignore("sample_size", "upcast_attention", "addition_embed_type_num_heads")
    config.finish()
    return arguments


def _added_embedding(config):
    """What joins the time embedding: in Stable Diffusion XL the whole text and six numbers."""
    config.expect(addition_embed_type=(None, "text_time"))
    waves_dim, inputs_dim = (
        config.take(name) for name in ("addition_time_embed_dim", "projection_class_embeddings_input_dim")
    )
    if waves_dim is None or inputs_dim is None:
        return {}
    return {"pooled_dim": inputs_dim - NUM_SIZES * waves_dim, "size_waves_dim": waves_dim}


def _attention_levels(config, widths):
    """The levels with a transformer, of which the way down and the way up say the same."""
    down = tuple(config.take("down_block_types", (*[CROSS_DOWN] * 3, DOWN)))
    up = tuple(config.take("up_block_types", (UP, *[CROSS_UP] * 3)))
    pairs = {DOWN: UP, CROSS_DOWN: CROSS_UP}
    if not len(down) == len(up) == len(widths) or tuple(pairs.get(block) for block in reversed(down)) != up:
        raise ValueError(
            f"`down_block_types` in {config.path} must be {DOWN} or {CROSS_DOWN} at each level, and `up_block_types` "
            f"the same in reverse. Received: down_block_types={down}, up_block_types={up}"
        )
    return tuple(level for level, block in enumerate(down) if block == CROSS_DOWN)


def autoencoder_arguments(config):
    """Arguments of `Autoencoder`, and the mean and standard deviation of its latents, of an `AutoencoderKL`.

    Raises:
        ValueError: a setting that `Autoencoder` does not have; names it.
    """
    widths = tuple(config.need("block_out_channels"))
    arguments = {
        "latent_channels": config.take("latent_channels", 4),
        "widths": widths,
        "num_blocks": config.take("layers_per_block", 1),
        "groups": config.take("norm_num_groups", 32),
        "middle_attention": config.take("mid_block_add_attention", True),
    }
    # diffusers scales latents z as scaling_factor (z - shift_factor).
    statistics = config.take("shift_factor", 0.0), 1.0 / config.take("scaling_factor", 0.18215)
    for name, block in (("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")):
        _expect_all(config, name, block, len(widths))
    config.expect(**AUTOENCODER)
    config.ignore("sample_size", "force_upcast")
    config.finish()
    return arguments, statistics


def _expect_all(config, name, block, count):
    blocks = config.take(name, [block] * count)
    if list(blocks) != [block] * count:
        raise ValueError(f"`{name}` in {config.path} must be {count} times {block}. Received: {name}={blocks}")


def text_arguments(config):
    """Arguments of KerasHub's `CLIPTextEncoder` from the `Config` of a `CLIPTextModel`.

    Raises:
        ValueError: a setting that `CLIPTextEncoder` does not have; names it.
    """
    width = config.take("hidden_size", 512)
    arguments = {
        "vocabulary_size": config.take("vocab_size", 49408),
        "embedding_dim": width,
        "hidden_dim": width,
        "num_layers": config.take("num_hidden_layers", 12),
        "num_heads": config.take("num_attention_heads", 8),
        "intermediate_dim": config.take("intermediate_size", 2048),
        "intermediate_activation": config.take("hidden_act", "quick_gelu"),
        "max_sequence_length": config.take("max_position_embeddings", 77),
    }
    if arguments["intermediate_activation"] not in ("quick_gelu", "gelu"):
        raise ValueError(
            f"`hidden_act` in {config.path} must be 'quick_gelu' or 'gelu'. "
            f"Received: hidden_act={arguments['intermediate_activation']!r}"
        )
    config.expect(**TEXT, use_attention_mask=False)
    # What else transformers writes says nothing of the text features.
    return arguments


# === Back ===


def unet_config(unet, sample_size):
    """The config of a `UNet2DConditionModel` with the weights of a `UNet`.

    Raises:
        ValueError: an argument that diffusers does not have; names it.
    """
    _refuse(unet, activation="gelu", expansion=4, pool_context=False)
    down = [CROSS_DOWN if level in unet.attention_levels else DOWN for level in range(len(unet.widths))]
    up = [CROSS_UP if block == CROSS_DOWN else UP for block in reversed(down)]
    channels = unet.latent_shape[-1]
    return {
        **UNET,
        "_class_name": "UNet2DConditionModel",
        "sample_size": sample_size,
        "in_channels": 2 * channels + 1 if unet.sees_mask else channels,
        "out_channels": channels,
        "block_out_channels": unet.widths,
        "down_block_types": down,
        "up_block_types": up,
        "cross_attention_dim": unet.context_dim,
        "layers_per_block": unet.num_blocks,
        "attention_head_dim": unet.num_heads,
        "transformer_layers_per_block": unet.transformer_depth,
        "use_linear_projection": unet.linear_projection,
        "norm_num_groups": unet.groups,
        "dropout": unet.dropout,
        **(_added_embedding_config(unet) if unet.pooled_dim else {}),
    }


def _added_embedding_config(unet):
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": unet.size_waves_dim,
        "projection_class_embeddings_input_dim": unet.pooled_dim + NUM_SIZES * unet.size_waves_dim,
    }


def autoencoder_config(autoencoder, mean, std):
    """The config of an `AutoencoderKL` with the weights of an `Autoencoder` and these statistics of its latents.

    Raises:
        ValueError: an argument that diffusers does not have, or statistics that differ between channels.
    """
    _refuse(autoencoder, patch_size=1)
    if len(set(mean)) > 1 or len(set(std)) > 1:
        raise ValueError(
            f"`autoencoder` must have one mean and deviation for all channels. Received: mean={mean}, std={std}"
        )
    levels = len(autoencoder.widths)
    return {
        **AUTOENCODER,
        "_class_name": "AutoencoderKL",
        "block_out_channels": autoencoder.widths,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": autoencoder.num_blocks,
        "latent_channels": autoencoder.latent_channels,
        "norm_num_groups": autoencoder.groups,
        "mid_block_add_attention": autoencoder.middle_attention,
        "scaling_factor": 1.0 / std[0],
        "shift_factor": mean[0] or None,
    }


def text_configs(text_encoder):
    """The configs of the `CLIPTextModel`, and perhaps of the second one, with the weights of a `TextEncoder`.

    Returns:
        dict of the name of a part in diffusers -> its config.

    Raises:
        ValueError: an argument that diffusers does not have; names it.
    """
    _refuse(text_encoder, mask_padding=False, clip_skip=0, separator_id=None)
    backbone = text_encoder.backbone
    if not isinstance(backbone, ClipPair):
        _refuse(text_encoder, zero_empty=False)
        return {"text_encoder": _text_config(text_encoder, backbone)}
    _refuse(backbone, skipped_layers=1)
    second = _text_config(text_encoder, backbone.second, pad_token_id=backbone.second_pad_id)
    second |= {"architectures": ["CLIPTextModelWithProjection"], "projection_dim": backbone.projection.units}
    return {"text_encoder": _text_config(text_encoder, backbone.first), "text_encoder_2": second}


def _text_config(text_encoder, clip, **changes):
    return {
        **TEXT,
        "architectures": ["CLIPTextModel"],
        "vocab_size": clip.vocabulary_size,
        "hidden_size": clip.hidden_dim,
        "num_hidden_layers": clip.num_layers,
        "num_attention_heads": clip.num_heads,
        "intermediate_size": clip.intermediate_dim,
        "hidden_act": clip.intermediate_activation,
        "max_position_embeddings": clip.max_sequence_length,
        "bos_token_id": text_encoder.start_id,
        "eos_token_id": text_encoder.end_id,
        "pad_token_id": text_encoder.pad_id,
        **changes,
    }


def _refuse(model, **needed):
    """Raises ValueError unless a model has these attributes."""
    for name, value in needed.items():
        if getattr(model, name) != value:
            raise ValueError(
                f"`{name}` of the {type(model).__name__} must be {value!r} for diffusers. "
                f"Received: {name}={getattr(model, name)!r}"
            )
