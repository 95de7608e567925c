"""Configs of diffusers' networks as arguments of ours. The defaults here are those of diffusers and transformers."""

DOWN, CROSS_DOWN = "DownBlock2D", "CrossAttnDownBlock2D"
UP, CROSS_UP = "UpBlock2D", "CrossAttnUpBlock2D"


def unet_arguments(config):
    """Arguments of `UNet` from the `Config` of a `UNet2DConditionModel`, but for `latent_shape` and `num_tokens`.

    Raises:
        ValueError: a setting that `UNet` does not have; names it.
    """
    widths = tuple(config.need("block_out_channels"))
    levels = _attention_levels(config, widths)
    heads = config.take("attention_head_dim", 8)  # of old, diffusers calls the number of heads so
    arguments = {
        "context_dim": config.need("cross_attention_dim"),
        "widths": widths,
        "num_blocks": config.take("layers_per_block", 2),
        "attention_levels": levels,
        "num_heads": config.take("num_attention_heads", heads),
        "transformer_depth": config.take("transformer_layers_per_block", 1),
        "linear_projection": config.take("use_linear_projection", False),
        "groups": config.take("norm_num_groups", 32),
        "dropout": config.take("dropout", 0.0),
    }
    config.expect(
        act_fn="silu",
        attention_type="default",
        conv_in_kernel=3,
        conv_out_kernel=3,
        downsample_padding=1,
        flip_sin_to_cos=True,
        freq_shift=0,
        mid_block_scale_factor=1,
        mid_block_type="UNetMidBlock2DCrossAttn",
        norm_eps=1e-5,
        resnet_out_scale_factor=1.0,
        resnet_time_scale_shift="default",
        time_embedding_type="positional",
    )
    config.ignore("sample_size", "upcast_attention", "addition_embed_type_num_heads")
    config.finish()
    return arguments


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
    config.expect(act_fn="silu", in_channels=3, out_channels=3, use_quant_conv=True, use_post_quant_conv=True)
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
    config.expect(layer_norm_eps=1e-5, model_type="clip_text_model", use_attention_mask=False)
    # What else transformers writes says nothing of the text features.
    return arguments
