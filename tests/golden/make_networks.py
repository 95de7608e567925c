"""Makes networks.npz: what the U-Net and the autoencoder of diffusers answer, with the weights of weights.py.

pip install torch==2.13.0 diffusers && python tests/golden/make_networks.py
"""

from pathlib import Path

import diffusers
import numpy as np
import torch
from weights import make

torch.manual_seed(0)
UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (16, 32, 32),
    "layers_per_block": 2,
    "norm_num_groups": 8,
    "cross_attention_dim": 12,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}
VERSIONS = {
    "sd15": {"attention_head_dim": 4},  # in diffusers' U-Net this is the number of heads
    "sd21": {"attention_head_dim": (2, 4, 8), "use_linear_projection": True},
}
AUTOENCODER = {
    "block_out_channels": (16, 32, 32),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "latent_channels": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
}


def filled(model):
    """The model with the weights of weights.py, and their names."""
    state = {name: torch.from_numpy(make(name, tuple(value.shape))) for name, value in model.state_dict().items()}
    model.load_state_dict(state)
    return model.eval(), sorted(state)


def last(channels):
    """(batch, channels, height, width) -> (batch, height, width, channels)."""
    return channels.permute(0, 2, 3, 1).numpy()


@torch.no_grad()
def main():
    draw = np.random.RandomState(0).standard_normal
    arrays = {
        "noisy_latents": draw((2, 8, 16, 4)),
        "timesteps": np.array([7.0, 981.0]),
        "context": draw((2, 5, 12)),
        "context_mask": np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
        "images": np.random.RandomState(1).uniform(-1, 1, (1, 16, 24, 3)),
        "latents": draw((1, 4, 6, 4)),
    }
    arrays = {name: values.astype("float32") for name, values in arrays.items()}
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    arrays["timestep_waves"] = diffusers.models.embeddings.get_timestep_embedding(
        tensors["timesteps"], 16, flip_sin_to_cos=True, downscale_freq_shift=0
    ).numpy()
    for version, changes in VERSIONS.items():
        unet, names = filled(diffusers.UNet2DConditionModel(sample_size=8, **UNET, **changes))
        arrays[f"{version}_prediction"] = last(
            unet(
                tensors["noisy_latents"].permute(0, 3, 1, 2),
                tensors["timesteps"],
                tensors["context"],
                encoder_attention_mask=tensors["context_mask"].bool(),
            ).sample
        )
        arrays[f"{version}_names"] = np.array(names)
    autoencoder, names = filled(diffusers.AutoencoderKL(**AUTOENCODER))
    arrays["moments"] = last(autoencoder.encode(tensors["images"].permute(0, 3, 1, 2)).latent_dist.parameters)
    arrays["decoded"] = last(autoencoder.decode(tensors["latents"].permute(0, 3, 1, 2)).sample)
    arrays["autoencoder_names"] = np.array(names)
    np.savez_compressed(Path(__file__).parent / "networks.npz", **arrays)


if __name__ == "__main__":
    main()
