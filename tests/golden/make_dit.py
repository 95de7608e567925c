"""Makes dit.npz: what PixArt's transformer of diffusers answers, with the weights of weights.py.

pip install torch==2.13.0 diffusers==0.42.0 && python tests/golden/make_dit.py
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import PixArtTransformer2DModel
from weights import make

DIT = {
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "in_channels": 3,
    "out_channels": 3,
    "num_layers": 2,
    "cross_attention_dim": 12,
    "sample_size": 8,
    "patch_size": 2,
    "interpolation_scale": 1,
    "use_additional_conditions": False,
}


@torch.no_grad()
def main():
    torch.manual_seed(0)
    draw = np.random.RandomState(0).standard_normal
    arrays = {
        "noisy_latents": draw((2, 8, 8, 3)),
        "timesteps": np.array([7.0, 981.0]),
        "context": draw((2, 5, 12)),
        "context_mask": np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    }
    arrays = {name: values.astype("float32") for name, values in arrays.items()}
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    model = PixArtTransformer2DModel(**DIT)
    names = sorted(name for name, _ in model.named_parameters())
    state = {name: torch.from_numpy(make(name, tuple(model.state_dict()[name].shape))) for name in names}
    model.load_state_dict(state, strict=False)  # the position embedding is a buffer
    prediction = model.eval()(
        tensors["noisy_latents"].permute(0, 3, 1, 2),
        encoder_hidden_states=tensors["context"],
        timestep=tensors["timesteps"],
        encoder_attention_mask=tensors["context_mask"],
    ).sample
    arrays["prediction"] = prediction.permute(0, 2, 3, 1).numpy()
    arrays["names"] = np.array(names)
    np.savez_compressed(Path(__file__).with_name("dit.npz"), **arrays)


if __name__ == "__main__":
    main()
