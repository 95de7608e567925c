"""Makes lora.npz: what diffusers' U-Net answers with a LoRA fused, and the LoRA files that diffusers and peft write.

pip install torch==2.13.0 diffusers==0.42.0 peft==0.21.2 transformers && python tests/golden/make_lora.py
"""

import json
import tempfile
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_kohya
from make_networks import UNET, VERSIONS, filled, last
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open
from weights import make

CONFIG = {
    "r": 4,
    "lora_alpha": 8,
    "rank_pattern": {"conv1": 2},
    "alpha_pattern": {"to_q": 3},
    "target_modules": ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "ff.net.0.proj", "conv1", "downsamplers.0.conv"],
}
UNSCALED = {**CONFIG, "lora_alpha": CONFIG["r"], "alpha_pattern": CONFIG["rank_pattern"]}  # as files without alpha mean
SCALE = 0.75


def adapted(version, config):
    """The U-Net with a LoRA whose matrices are those of weights.py, by their names in peft's layout."""
    unet, _ = filled(diffusers.UNet2DConditionModel(sample_size=8, **UNET, **VERSIONS[version]))
    unet.add_adapter(LoraConfig(**config))
    for name, parameter in unet.named_parameters():
        if "lora_" in name:
            name = "unet." + name.replace(".default", "")
            parameter.data = torch.from_numpy(make(name, tuple(parameter.shape)))
    return unet


def written(state, metadata=None):
    """The keys, in order, and the metadata of the file that diffusers writes for a state."""
    with tempfile.TemporaryDirectory() as folder:
        diffusers.StableDiffusionPipeline.save_lora_weights(folder, state, unet_lora_adapter_metadata=metadata)
        with safe_open(f"{folder}/pytorch_lora_weights.safetensors", "pt") as file:
            return sorted(file.keys()), file.metadata()


def fused(version, config):
    """What it answers with this LoRA."""
    inputs = np.load(Path(__file__).parent / "networks.npz")
    latents, timesteps, context, mask = (
        torch.from_numpy(inputs[name]) for name in ("noisy_latents", "timesteps", "context", "context_mask")
    )
    unet = adapted(version, config)
    unet.fuse_lora(SCALE)
    return last(unet(latents.permute(0, 3, 1, 2), timesteps, context, encoder_attention_mask=mask.bool()).sample)


@torch.no_grad()
def main():
    arrays = {}
    for version in VERSIONS:
        unet = adapted(version, CONFIG)
        state = get_peft_model_state_dict(unet)
        metadata = {**unet.peft_config["default"].to_dict(), "target_modules": CONFIG["target_modules"]}
        files = {"peft": written(state, metadata), "older": written(convert_state_dict_to_diffusers(state))}
        kohya = convert_state_dict_to_kohya({f"unet.{name}": value for name, value in state.items()})
        files["kohya"] = (sorted(kohya), {})
        arrays[f"{version}_files"] = json.dumps(files)
        arrays[f"{version}_shapes"] = json.dumps({f"unet.{name}": tuple(value.shape) for name, value in state.items()})
        arrays[f"{version}_prediction"] = fused(version, CONFIG)
        arrays[f"{version}_unscaled"] = fused(version, UNSCALED)
    np.savez_compressed(Path(__file__).parent / "lora.npz", **arrays)


if __name__ == "__main__":
    main()
