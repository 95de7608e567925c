"""Makes stable_diffusion.npz: what diffusers' pipelines of tiny Stable Diffusion models answer, with weights.py.

pip install torch==2.13.0 diffusers==0.42.0 transformers==5.24.0 && python tests/golden/make_stable_diffusion.py

`sd1` has the architecture of Stable Diffusion 1, `sd2` that of 2.1 with v prediction. The file also holds the configs,
the names and the shapes of all tensors, and token ids of CLIP's tokenizer.
"""

import json
import tempfile
from pathlib import Path

import clip_words
import diffusers
import numpy as np
import torch
import transformers
from clip_words import NEGATIVE, PROMPT
from diffusers.loaders import single_file_utils
from original_names import original
from weights import make

WIDTHS = (16, 32, 32)
UNET = {
    "sample_size": 8,
    "block_out_channels": WIDTHS,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "cross_attention_dim": 16,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}
AUTOENCODER = {
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
}
TEXT = {"vocab_size": len(clip_words.vocabulary()), "hidden_size": 16, "intermediate_size": 24}
TEXT |= {"num_hidden_layers": 3, "num_attention_heads": 2}
SCHEDULE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SCHEDULE |= {"steps_offset": 1, "set_alpha_to_one": False}
VERSIONS = {
    "sd1": {
        "unet": {"attention_head_dim": 4},
        "text": {"hidden_act": "quick_gelu"},
        "scheduler": diffusers.PNDMScheduler(**SCHEDULE, skip_prk_steps=True),
        "pad_token": clip_words.END,
    },
    "sd2": {
        "unet": {
            "attention_head_dim": (2, 4, 8),
            "use_linear_projection": True,
            "upcast_attention": True,
            "transformer_layers_per_block": (1, 2, 1),
        },
        "text": {"hidden_act": "gelu"},
        "scheduler": diffusers.DDIMScheduler(**SCHEDULE, clip_sample=False, prediction_type="v_prediction"),
        "pad_token": "!",
    },
}


def filled(model):
    """The model with the weights of weights.py."""
    state = {name: torch.from_numpy(make(name, tuple(value.shape))) for name, value in model.state_dict().items()}
    model.load_state_dict(state)
    return model.eval()


def last(channels):
    """(batch, channels, height, width) -> (batch, height, width, channels)."""
    return channels.permute(0, 2, 3, 1).numpy()


def first(channels):
    """The inverse of `last`."""
    return torch.from_numpy(channels).permute(0, 3, 1, 2)


def make_tokenizer(pad_token):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "vocab.json").write_text(json.dumps(clip_words.vocabulary()), encoding="utf-8")
        Path(folder, "merges.txt").write_text("\n".join(["#version: 0.2", *clip_words.MERGES]), encoding="utf-8")
        return transformers.CLIPTokenizerFast.from_pretrained(folder, pad_token=pad_token, model_max_length=77)


def make_pipeline(version):
    changes = VERSIONS[version]
    ends = {"bos_token_id": TEXT["vocab_size"] - 2, "eos_token_id": TEXT["vocab_size"] - 1}
    return diffusers.StableDiffusionPipeline(
        vae=filled(diffusers.AutoencoderKL(**AUTOENCODER)),
        text_encoder=filled(transformers.CLIPTextModel(transformers.CLIPTextConfig(**TEXT, **ends, **changes["text"]))),
        tokenizer=make_tokenizer(changes["pad_token"]),
        unet=filled(diffusers.UNet2DConditionModel(**UNET, **changes["unet"])),
        scheduler=changes["scheduler"],
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def answers(pipeline, inputs):
    """What the parts and the whole say."""
    ids = pipeline.tokenizer([PROMPT, ""], padding="max_length", max_length=77, return_tensors="pt").input_ids
    hidden = pipeline.text_encoder(ids, output_hidden_states=True)
    context = hidden.last_hidden_state
    norm = getattr(pipeline.text_encoder, "text_model", pipeline.text_encoder).final_layer_norm
    noisy = first(inputs["noisy_latents"])
    timesteps = torch.from_numpy(inputs["timesteps"])
    posterior = pipeline.vae.encode(first(inputs["images"])).latent_dist
    scale = pipeline.vae.config.scaling_factor
    yield "token_ids", ids.numpy()
    yield "context", context.numpy()
    yield "skipped_context", norm(hidden.hidden_states[-2]).numpy()
    yield "prediction", last(pipeline.unet(noisy, timesteps, context).sample)
    yield "encoded", last(posterior.mean * scale)
    yield "decoded", last(pipeline.vae.decode(first(inputs["latents"]) / scale).sample)
    noise = first(inputs["noise"])
    for name, scheduler in schedulers(pipeline.scheduler.config).items():
        pipeline.scheduler = scheduler
        ask = {"num_inference_steps": 10, "guidance_scale": 3.0, "negative_prompt": NEGATIVE, "latents": noise}
        made = pipeline(PROMPT, output_type="latent", **ask).images
        yield f"{name}/latents", last(made)
        yield f"{name}/image", last(pipeline.vae.decode(made / scale).sample)


def schedulers(config):
    """Those whose samplers the tests compare, by the names of these."""
    leading = {"timestep_spacing": "leading"}
    return {
        "ddim": diffusers.DDIMScheduler.from_config(config, **leading, set_alpha_to_one=True, clip_sample=False),
        "euler": diffusers.EulerDiscreteScheduler.from_config(config, **leading),
        "dpmpp_2m": diffusers.DPMSolverMultistepScheduler.from_config(config, timestep_spacing="trailing"),
    }


def described(pipeline):
    """Configs as JSON, and the names and shapes of all tensors."""
    configs = {
        "unet": dict(pipeline.unet.config),
        "vae": dict(pipeline.vae.config),
        "text_encoder": pipeline.text_encoder.config.to_dict(),
        "scheduler": {**pipeline.scheduler.config, "_class_name": type(pipeline.scheduler).__name__},
    }
    for name, config in configs.items():
        yield f"{name}/config", json.dumps(config, default=str)
    for name in ("unet", "vae", "text_encoder"):
        state = getattr(pipeline, name).state_dict()
        yield f"{name}/shapes", json.dumps({key: list(value.shape) for key, value in state.items()})


def check_original_names(pipeline):
    """diffusers' reader of single files agrees with original_names.py."""
    parts = {name: getattr(pipeline, name) for name in ("unet", "vae", "text_encoder")}
    configs = {name: part.config.to_dict() if name == "text_encoder" else part.config for name, part in parts.items()}
    expected = {name: {key: x.numpy() for key, x in part.state_dict().items()} for name, part in parts.items()}
    state = {name: torch.from_numpy(x) for name, x in original(expected, configs).items()}
    received = {
        "unet": single_file_utils.convert_ldm_unet_checkpoint(dict(state), configs["unet"]),
        "vae": single_file_utils.convert_ldm_vae_checkpoint(dict(state), configs["vae"]),
    }
    if configs["text_encoder"]["hidden_act"] == "quick_gelu":
        received["text_encoder"] = single_file_utils.convert_ldm_clip_checkpoint(dict(state))
    else:
        projection = {"cond_stage_model.model.text_projection": torch.zeros(TEXT["hidden_size"], TEXT["hidden_size"])}
        received["text_encoder"] = single_file_utils.convert_open_clip_checkpoint(
            pipeline.text_encoder, state | projection, prefix="cond_stage_model.model."
        )
    for part, tensors in expected.items():
        values = {name.removeprefix("text_model."): x.numpy() for name, x in received[part].items()}
        assert values.keys() == tensors.keys(), part
        assert all((values[name].reshape(x.shape) == x).all() for name, x in tensors.items()), part


@torch.no_grad()
def main():
    draw = np.random.RandomState(0).standard_normal
    inputs = {
        "noisy_latents": draw((2, 8, 8, 4)),
        "timesteps": np.array([7.0, 981.0]),
        "images": np.random.RandomState(1).uniform(-1, 1, (1, 16, 16, 3)),
        "latents": draw((1, 8, 8, 4)),
        "noise": draw((1, 8, 8, 4)),
    }
    inputs = {name: values.astype("float32") for name, values in inputs.items()}
    arrays = dict(inputs)
    for version in VERSIONS:
        pipeline = make_pipeline(version)
        pipeline.set_progress_bar_config(disable=True)
        check_original_names(pipeline)
        arrays |= {f"{version}/{name}": np.array(value) for name, value in described(pipeline)}
        arrays |= {f"{version}/{name}": value for name, value in answers(pipeline, inputs)}
    ids = make_tokenizer(clip_words.END)(clip_words.strings(), add_special_tokens=False).input_ids
    arrays["fuzz/ids"] = np.concatenate(ids).astype("int16")
    arrays["fuzz/lengths"] = np.array([len(row) for row in ids], "int16")
    np.savez_compressed(Path(__file__).parent / "stable_diffusion.npz", **arrays)


if __name__ == "__main__":
    main()
