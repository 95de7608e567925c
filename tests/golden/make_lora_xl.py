"""Makes lora_xl.npz: what a tiny Stable Diffusion XL answers with a LoRA fused into its U-Net and both text encoders.

pip install torch==2.13.0 diffusers==0.42.0 peft==0.21.2 transformers==5.24.0 && python tests/golden/make_lora_xl.py

Also the keys of the files that diffusers writes, those that it makes of them for kohya's scripts, and those of kohya's
scripts themselves, which call the blocks of the U-Net as Stability does.
"""

import json
import re
import tempfile
from pathlib import Path

import diffusers
import numpy as np
import torch
from clip_words import NEGATIVE, PROMPT
from diffusers.utils import convert_state_dict_to_kohya
from make_stable_diffusion import first, last
from make_stable_diffusion_xl import SIZES, make_pipeline
from original_names import unet as original_unet_name
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file
from weights import make

PARTS = ("unet", "text_encoder", "text_encoder_2")
UNET_TARGETS = ["to_q", "to_out.0", "proj_in", "ff.net.0.proj", "conv1"]
TARGETS = {"unet": UNET_TARGETS, "text_encoder": ["q_proj", "fc2"], "text_encoder_2": ["out_proj", "fc1"]}
RANK, SCALE = 2, 0.75


def adapt(pipeline):
    """Adds a LoRA to each part; returns the state of all, by names with the part in front."""
    states = {}
    for part in PARTS:
        model = getattr(pipeline, part)
        inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS[part]), model)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                name = f"{part}." + name.replace(".default", "")
                parameter.data = torch.from_numpy(make(name, tuple(parameter.shape)))
        states[part] = get_peft_model_state_dict(model, adapter_name="default")
    return states


def fuse(pipeline):
    for part in PARTS:
        for layer in getattr(pipeline, part).modules():
            if isinstance(layer, BaseTunerLayer):
                layer.scale_layer(SCALE)
                layer.merge()


def files(states):
    """The tensors of a file by key, for each layout."""
    with tempfile.TemporaryDirectory() as folder:
        layers = {f"{part}_lora_layers": states[part] for part in PARTS}
        diffusers.StableDiffusionXLPipeline.save_lora_weights(folder, **layers)
        written = load_file(f"{folder}/pytorch_lora_weights.safetensors")
    named = {f"{part}.{name}": values for part in PARTS for name, values in states[part].items()}
    kohya = convert_state_dict_to_kohya(dict(named))
    return {"diffusers": written, "kohya": kohya, "kohya_sgm": {sgm_key(key, named): x for key, x in kohya.items()}}


def sgm_key(key, named):
    """The key of kohya's scripts: the same with Stability's names of the blocks."""
    layer, _, rest = key.partition(".")
    if not layer.startswith("lora_unet_"):
        return key
    layers = {name.removeprefix("unet.").split(".lora_")[0] for name in named if name.startswith("unet.")}
    (name,) = (name for name in layers if f"lora_unet_{name.replace('.', '_')}" == layer)
    name = original_unet_name(f"{name}.weight", 1, (True, True, False)).removesuffix(".weight")
    return f"lora_unet_{re.sub('[.]', '_', name)}.{rest}"


def described(tensors, states):
    """Each key with the name of its matrix, or with a number."""
    named = {f"{part}.{name}": values for part in PARTS for name, values in states[part].items()}

    def value(tensor):
        same = [name for name, x in named.items() if x.shape == tensor.shape and torch.equal(x, tensor)]
        return same[0] if same else tensor.item()

    return {key: value(tensor) for key, tensor in tensors.items()}


@torch.no_grad()
def main():
    pipeline = make_pipeline()
    with np.load(Path(__file__).parent / "stable_diffusion_xl.npz") as file:
        inputs = {name.removeprefix("xl/"): file[name] for name in file.files}
    states = adapt(pipeline)
    shapes = {f"{part}.{name}": tuple(x.shape) for part in PARTS for name, x in states[part].items()}
    arrays = {"shapes": json.dumps(shapes)}
    arrays["files"] = json.dumps({layout: described(x, states) for layout, x in files(states).items()})
    fuse(pipeline)
    context, _, pooled, _ = pipeline.encode_prompt([PROMPT, NEGATIVE], do_classifier_free_guidance=False)
    added = {"text_embeds": pooled, "time_ids": torch.tensor([SIZES] * 2)}
    timesteps = torch.from_numpy(inputs["timesteps"])
    outputs = pipeline.unet(first(inputs["noisy_latents"]), timesteps, context, added_cond_kwargs=added)
    arrays |= {"context": context.numpy(), "pooled_context": pooled.numpy(), "prediction": last(outputs.sample)}
    np.savez_compressed(Path(__file__).parent / "lora_xl.npz", **arrays)


if __name__ == "__main__":
    main()
