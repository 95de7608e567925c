"""Makes inpainting_xl.npz: what diffusers' inpainting pipeline of a tiny Stable Diffusion XL answers, with weights.py.

pip install torch==2.13.0 diffusers==0.42.0 transformers==5.24.0 && python tests/golden/make_inpainting_xl.py

Its U-Net sees the mask and the latents of the masked image, 9 channels, beside the sizes of the image. The image is
encoded as the mean of the posterior, where diffusers draws a sample.
"""

from pathlib import Path

import diffusers
import numpy as np
import torch
from clip_words import NEGATIVE, PROMPT
from make_stable_diffusion import filled, first, last, schedulers
from make_stable_diffusion_xl import CROPPED, SIZES, UNET, check_original_names, described, make_pipeline
from PIL import Image


def make_inpainting():
    components = {**make_pipeline().components, "image_encoder": None, "feature_extractor": None}
    components["unet"] = filled(diffusers.UNet2DConditionModel(**UNET, in_channels=9, out_channels=4))
    pipeline = diffusers.StableDiffusionXLInpaintPipeline(**components, add_watermarker=False)
    scale = pipeline.vae.config.scaling_factor
    pipeline._encode_vae_image = lambda image, generator: scale * pipeline.vae.encode(image).latent_dist.mode()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def answers(pipeline, inputs):
    """The text, one call of the U-Net, and ten guided steps of each scheduler, also with sizes of another image."""
    context, _, pooled, _ = pipeline.encode_prompt([PROMPT, NEGATIVE], do_classifier_free_guidance=False)
    added = {"text_embeds": pooled, "time_ids": torch.tensor([SIZES] * 2)}
    timesteps = torch.from_numpy(inputs["timesteps"])
    yield "context", context.numpy()
    yield "pooled_context", pooled.numpy()
    outputs = pipeline.unet(first(inputs["unet_inputs"]), timesteps, context, added_cond_kwargs=added)
    yield "prediction", last(outputs.sample)
    given = {"image": Image.fromarray(inputs["images"]), "mask_image": Image.fromarray(inputs["masks"])}
    given |= {"strength": 1.0, "height": 16, "width": 16, "negative_prompt": NEGATIVE}
    given["latents"] = first(inputs["noise"])
    ask = {"num_inference_steps": 10, "guidance_scale": 3.0, "output_type": "latent"}
    for name, scheduler in schedulers(pipeline.scheduler.config).items():
        pipeline.scheduler = scheduler
        made = pipeline(PROMPT, **given, **ask).images
        yield f"{name}/latents", last(made)
        yield f"{name}/image", last(pipeline.vae.decode(made / pipeline.vae.config.scaling_factor).sample)
        yield f"cropped/{name}/latents", last(pipeline(PROMPT, **given, **ask, **CROPPED).images)


@torch.no_grad()
def main():
    draw = np.random.RandomState(6).standard_normal
    masks = np.zeros((16, 16), "uint8")
    masks[3:12, 5:] = 255
    inputs = {
        "unet_inputs": draw((2, 8, 8, 9)).astype("float32"),
        "timesteps": np.array([7.0, 981.0], "float32"),
        "image_sizes": np.array([SIZES] * 2, "float32"),
        "noise": draw((1, 8, 8, 4)).astype("float32"),
        "images": np.random.RandomState(7).randint(0, 256, (16, 16, 3)).astype("uint8"),
        "masks": masks,
    }
    pipeline = make_inpainting()
    check_original_names(pipeline)
    arrays = {**inputs, **{name: np.array(value) for name, value in described(pipeline)}}
    arrays |= dict(answers(pipeline, inputs))
    arrays = {f"inpaint_xl/{name}": value for name, value in arrays.items()}
    np.savez_compressed(Path(__file__).parent / "inpainting_xl.npz", **arrays)


if __name__ == "__main__":
    main()
