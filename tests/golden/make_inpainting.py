"""Makes inpainting.npz: what diffusers' inpainting pipeline of a tiny Stable Diffusion 1 answers, with weights.py.

pip install torch==2.13.0 diffusers==0.42.0 transformers==5.24.0 && python tests/golden/make_inpainting.py

Its U-Net sees the mask and the latents of the masked image, 9 channels. The image is encoded as the mean of the
posterior, where diffusers draws a sample.
"""

from pathlib import Path

import diffusers
import numpy as np
import torch
from clip_words import NEGATIVE, PROMPT
from make_stable_diffusion import VERSIONS, check_original_names, described, first, last, make_pipeline, schedulers
from PIL import Image

VERSIONS["inpaint"] = {**VERSIONS["sd1"], "unet": {"attention_head_dim": 4, "in_channels": 9, "out_channels": 4}}


def make_inpainting():
    components = make_pipeline("inpaint").components
    components = {name: part for name, part in components.items() if name != "image_encoder"}
    pipeline = diffusers.StableDiffusionInpaintPipeline(**components, requires_safety_checker=False)
    scale = pipeline.vae.config.scaling_factor
    pipeline._encode_vae_image = lambda image, generator: scale * pipeline.vae.encode(image).latent_dist.mode()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def answers(pipeline, inputs):
    """Ten guided steps of each scheduler, and one call of the U-Net."""
    given = {"image": Image.fromarray(inputs["images"]), "mask_image": Image.fromarray(inputs["masks"])}
    ask = {"num_inference_steps": 10, "guidance_scale": 3.0, "negative_prompt": NEGATIVE, "output_type": "latent"}
    for name, scheduler in schedulers(pipeline.scheduler.config).items():
        pipeline.scheduler = scheduler
        made = pipeline(PROMPT, latents=first(inputs["noise"]), **given, **ask).images
        yield f"{name}/latents", last(made)
        yield f"{name}/image", last(pipeline.vae.decode(made / pipeline.vae.config.scaling_factor).sample)
    rows = [torch.from_numpy(inputs[name]) for name in ("timesteps", "context")]
    yield "prediction", last(pipeline.unet(first(inputs["unet_inputs"]), *rows).sample)


@torch.no_grad()
def main():
    draw = np.random.RandomState(2).standard_normal
    masks = np.zeros((16, 16), "uint8")
    masks[3:12, 5:] = 255
    inputs = {
        "unet_inputs": draw((2, 8, 8, 9)).astype("float32"),
        "timesteps": np.array([7.0, 981.0], "float32"),
        "context": draw((2, 77, 16)).astype("float32"),
        "noise": draw((1, 8, 8, 4)).astype("float32"),
        "images": np.random.RandomState(3).randint(0, 256, (16, 16, 3)).astype("uint8"),
        "masks": masks,
    }
    pipeline = make_inpainting()
    check_original_names(pipeline)
    arrays = {**inputs, **{name: np.array(value) for name, value in described(pipeline)}}
    arrays |= dict(answers(pipeline, inputs))
    np.savez_compressed(
        Path(__file__).parent / "inpainting.npz", **{f"inpaint/{name}": value for name, value in arrays.items()}
    )


if __name__ == "__main__":
    main()
