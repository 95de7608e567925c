"""Makes stable_diffusion_xl.npz: what diffusers' pipeline of a tiny Stable Diffusion XL answers, with weights.py.

pip install torch==2.13.0 diffusers==0.42.0 transformers==5.24.0 && python tests/golden/make_stable_diffusion_xl.py
"""

import json
from pathlib import Path

import clip_words
import diffusers
import numpy as np
import torch
import transformers
from clip_words import NEGATIVE, PROMPT
from diffusers.loaders import single_file_utils
from make_stable_diffusion import AUTOENCODER, TEXT, filled, first, last, make_tokenizer, schedulers
from make_stable_diffusion import described as described_in_part
from original_names import original

UNET = {
    "sample_size": 8,
    "block_out_channels": (16, 32, 32),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "cross_attention_dim": 16 + 24,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": (2, 4, 8),
    "transformer_layers_per_block": (1, 1, 2),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 20 + 6 * 8,
}
SECOND = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 4, "hidden_act": "gelu"}
SECOND |= {"projection_dim": 20}
SCHEDULE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
SIZES = [24.0, 20.0, 3.0, 4.0, 16.0, 16.0]
CROPPED = {"original_size": (24, 20), "crops_coords_top_left": (3, 4), "target_size": (12, 16)}


def make_pipeline():
    ends = {"bos_token_id": TEXT["vocab_size"] - 2, "eos_token_id": TEXT["vocab_size"] - 1}
    text = transformers.CLIPTextConfig(**TEXT, **ends, hidden_act="quick_gelu")
    second = transformers.CLIPTextConfig(**{**TEXT, **ends, **SECOND})
    pipeline = diffusers.StableDiffusionXLPipeline(
        vae=filled(diffusers.AutoencoderKL(**AUTOENCODER, scaling_factor=0.13025, force_upcast=True)),
        text_encoder=filled(transformers.CLIPTextModel(text)),
        text_encoder_2=filled(transformers.CLIPTextModelWithProjection(second)),
        tokenizer=make_tokenizer(clip_words.END),
        tokenizer_2=make_tokenizer("!"),
        unet=filled(diffusers.UNet2DConditionModel(**UNET)),
        scheduler=diffusers.EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="leading"),
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def answers(pipeline, inputs):
    """What the parts and the whole say."""
    context, _, pooled, _ = pipeline.encode_prompt([PROMPT, NEGATIVE], do_classifier_free_guidance=False)
    skipped = pipeline.encode_prompt([PROMPT, NEGATIVE], do_classifier_free_guidance=False, clip_skip=1)[0]
    added = {"text_embeds": pooled, "time_ids": torch.tensor([SIZES] * 2)}
    timesteps = torch.from_numpy(inputs["timesteps"])
    unet_outputs = pipeline.unet(first(inputs["noisy_latents"]), timesteps, context, added_cond_kwargs=added)
    scale = pipeline.vae.config.scaling_factor
    yield "context", context.numpy()
    yield "pooled_context", pooled.numpy()
    yield "skipped_context", skipped.numpy()
    yield "prediction", last(unet_outputs.sample)
    yield "encoded", last(pipeline.vae.encode(first(inputs["images"])).latent_dist.mean * scale)
    yield "decoded", last(pipeline.vae.decode(first(inputs["latents"]) / scale).sample)
    ask = {"num_inference_steps": 10, "guidance_scale": 3.0, "latents": first(inputs["noise"]), "output_type": "latent"}
    for name, scheduler in schedulers(pipeline.scheduler.config).items():
        pipeline.scheduler = scheduler
        for kind, negative in (("", NEGATIVE), ("zeros/", None)):
            made = pipeline(PROMPT, negative_prompt=negative, **ask).images
            yield f"{kind}{name}/latents", last(made)
            yield f"{kind}{name}/image", last(pipeline.vae.decode(made / scale).sample)
        yield f"cropped/{name}/latents", last(pipeline(PROMPT, negative_prompt=NEGATIVE, **ask, **CROPPED).images)


def described(pipeline):
    """As for the other versions, with the second text encoder."""
    second = pipeline.text_encoder_2
    yield from described_in_part(pipeline)
    yield "text_encoder_2/config", json.dumps(second.config.to_dict(), default=str)
    yield "text_encoder_2/shapes", json.dumps({name: list(x.shape) for name, x in second.state_dict().items()})


def check_original_names(pipeline):
    """diffusers' reader of single files agrees with original_names.py."""
    names = ("unet", "vae", "text_encoder", "text_encoder_2")
    parts = {name: getattr(pipeline, name) for name in names}
    configs = {name: part.config.to_dict() if "text" in name else part.config for name, part in parts.items()}
    expected = {name: {key: x.numpy() for key, x in part.state_dict().items()} for name, part in parts.items()}
    state = {name: torch.from_numpy(x) for name, x in original(expected, configs).items()}
    received = {
        "unet": single_file_utils.convert_ldm_unet_checkpoint(dict(state), configs["unet"]),
        "text_encoder": single_file_utils.convert_ldm_clip_checkpoint(dict(state)),
        "text_encoder_2": single_file_utils.convert_open_clip_checkpoint(
            pipeline.text_encoder_2, dict(state), prefix="conditioner.embedders.1.model."
        ),
    }
    for part, tensors in received.items():
        values = {name.removeprefix("text_model."): x.numpy() for name, x in tensors.items()}
        wanted = {name.removeprefix("text_model."): x for name, x in expected[part].items()}
        assert values.keys() == wanted.keys(), (part, values.keys() ^ wanted.keys())
        assert all((values[name].reshape(x.shape) == x).all() for name, x in wanted.items()), part


@torch.no_grad()
def main():
    draw = np.random.RandomState(4).standard_normal
    inputs = {
        "noisy_latents": draw((2, 8, 8, 4)),
        "timesteps": np.array([7.0, 981.0]),
        "images": np.random.RandomState(5).uniform(-1, 1, (1, 16, 16, 3)),
        "latents": draw((1, 8, 8, 4)),
        "noise": draw((1, 8, 8, 4)),
        "image_sizes": np.array([SIZES] * 2),
    }
    inputs = {name: values.astype("float32") for name, values in inputs.items()}
    pipeline = make_pipeline()
    check_original_names(pipeline)
    arrays = {**inputs, **{name: np.array(value) for name, value in described(pipeline)}}
    arrays |= dict(answers(pipeline, inputs))
    arrays = {f"xl/{name}": values for name, values in arrays.items()}
    np.savez_compressed(Path(__file__).parent / "stable_diffusion_xl.npz", **arrays)


if __name__ == "__main__":
    main()
