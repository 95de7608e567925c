"""Networks of known sizes: a row has the arguments of the network, but for those that the other parts decide.

Start from a row, and change what should differ:

>>> network = build_network("emoji-128", (16, 16, 8), text_encoder.context_dim, dropout=0.1)
"""

from latentdiff.models.networks import make_network

_SD = {"network": "unet", "widths": (320, 640, 1280, 1280), "num_blocks": 2, "attention_levels": (0, 1, 2)}
# Peebles and Xie, arXiv:2212.09748, table 1; the number behind the stroke is the side of a patch.
_DITS = {"s": (384, 12, 6), "b": (768, 12, 12), "l": (1024, 24, 16), "xl": (1152, 28, 16)}
_EMOJI = {
    "network": "unet",
    "widths": (192, 256),
    "num_blocks": 2,
    "attention_levels": (0, 1),
    "num_heads": 8,
    "activation": "gelu_tanh",
    "expansion": 1,
    "pool_context": True,
}

SIZES = {
    "tiny": {**_EMOJI, "widths": (32, 32), "num_blocks": 1, "num_heads": 2, "groups": 8},
    "tiny-dit": {"network": "dit", "width": 32, "depth": 2, "num_heads": 2, "patch_size": 2},
    "emoji-128": _EMOJI,  # the shipped preset
    # 6.2 GFLOP a step of 16 x 16 x 8 latents, as many as the shipped U-Net: 14 against 27 million weights.
    "emoji-128-dit": {"network": "dit", "width": 256, "depth": 11, "num_heads": 8, "patch_size": 1, "expansion": 4},
    "base": {**_EMOJI, "widths": (256, 512), "expansion": 4},
    "sd15": {**_SD, "num_heads": 8},
    "sd21": {**_SD, "num_heads": (5, 10, 20, 20), "linear_projection": True},
    "sdxl": {
        "network": "unet",
        "widths": (320, 640, 1280),
        "num_blocks": 2,
        "attention_levels": (1, 2),
        "num_heads": (5, 10, 20),
        "transformer_depth": (1, 2, 10),
        "linear_projection": True,
        "pooled_dim": 1280,
    },
    **{
        f"dit-{name}/{patch_size}": {
            "network": "dit",
            "width": width,
            "depth": depth,
            "num_heads": num_heads,
            "patch_size": patch_size,
        }
        for name, (width, depth, num_heads) in _DITS.items()
        for patch_size in (2, 4, 8)
    },
}


def build_network(size, latent_shape, context_dim, num_tokens=None, **changes):
    """A network with fresh weights.

    Args:
        size: a name of `SIZES`.
        latent_shape: (height, width, channels) of the latents.
        context_dim: width of the text features.
        num_tokens: length of the text features, or None for any.
        changes: arguments of the network in place of those of the row.

    Returns:
        A `UNet` or a `DiT`.

    Raises:
        ValueError: an unknown size, or arguments that the network refuses.
    """
    if size not in SIZES:
        raise ValueError(f"`size` must be one of {sorted(SIZES)}. Received: size={size!r}")
    return make_network({**SIZES[size], **changes}, latent_shape, context_dim, num_tokens)
