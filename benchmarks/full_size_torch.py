"""The side of `benchmarks.full_size` that is diffusers, compiled by PyTorch."""

import functools

import diffusers
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from benchmarks.full_size_shapes import (
    BATCH,
    CHANNELS,
    MOMENTUM,
    RANK,
    RATE,
    SCALE,
    SIDE,
    STEPS,
    TOKENS,
    TRAINING_STEPS,
    WIDTH,
    XL_SIDE,
    XL_WIDTH,
    median_seconds,
)

VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": CHANNELS,
}


XL = {
    "sample_size": XL_SIDE,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": XL_WIDTH,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
MODE = "default"  # max-autotune takes more than 400 seconds to compile a guided call


def versions():
    return {"torch": torch.__version__, "diffusers": diffusers.__version__}


def make_unet():
    unet = UNet2DConditionModel(sample_size=SIDE, cross_attention_dim=WIDTH)
    return unet.to("cuda", memory_format=torch.channels_last)


@functools.cache
def half_unet():
    return torch.compile(make_unet().to(torch.bfloat16).eval(), mode=MODE)


def normal(*shape, dtype=torch.bfloat16):
    return torch.randn(*shape, device="cuda", dtype=dtype)


def waiting(function):
    """`function`, which then returns when the card is done."""

    def call():
        function()
        torch.cuda.synchronize()

    return call


@torch.inference_mode()
def call():
    latents, context = normal(2, CHANNELS, SIDE, SIDE), normal(2, TOKENS, WIDTH)
    return median_seconds(waiting(lambda: half_unet()(latents, 500, encoder_hidden_states=context)), 20)


@torch.inference_mode()
def xl():
    unet = UNet2DConditionModel(**XL).to("cuda", torch.bfloat16, memory_format=torch.channels_last).eval()
    compiled = torch.compile(unet, mode=MODE)
    latents, context = normal(2, CHANNELS, XL_SIDE, XL_SIDE), normal(2, TOKENS, XL_WIDTH)
    added = {"text_embeds": normal(2, 1280), "time_ids": normal(2, 6)}
    ask = {"encoder_hidden_states": context, "added_cond_kwargs": added}
    return median_seconds(waiting(lambda: compiled(latents, 500, **ask)), 20)


@torch.inference_mode()
def image():
    vae = AutoencoderKL(**VAE).to("cuda", torch.bfloat16).eval()
    decode = torch.compile(vae.decode)
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False)
    scheduler.set_timesteps(STEPS, device="cuda")
    noise, context = normal(1, CHANNELS, SIDE, SIDE), normal(2, TOKENS, WIDTH)

    def draw():
        latents = noise
        for timestep in scheduler.timesteps:
            both = half_unet()(latents.repeat(2, 1, 1, 1), timestep, encoder_hidden_states=context).sample
            with_text, without = both.chunk(2)
            prediction = without + SCALE * (with_text - without)
            latents = scheduler.step(prediction, timestep, latents).prev_sample
        return decode(latents / vae.config.scaling_factor).sample

    return median_seconds(waiting(draw), 5)


def training():
    return seconds_of_step(make_unet())


def lora():
    from peft import LoraConfig

    unet = make_unet().requires_grad_(False)
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    return seconds_of_step(unet)


def seconds_of_step(unet):
    weights = [value for value in unet.parameters() if value.requires_grad]
    averages = [value.detach().clone() for value in weights]
    optimizer = torch.optim.AdamW(weights, RATE, fused=True)
    alpha_bars = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012).alphas_cumprod.cuda()
    latents, context = normal(BATCH, CHANNELS, SIDE, SIDE, dtype=torch.float32), normal(BATCH, TOKENS, WIDTH)

    @torch.compile(mode=MODE)
    def loss_of(latents, noise, timesteps, context):
        signal = alpha_bars[timesteps].sqrt()[:, None, None, None]
        noisy = signal * latents + (1 - signal**2).sqrt() * noise
        with torch.autocast("cuda", torch.bfloat16):
            prediction = unet(noisy, timesteps, encoder_hidden_states=context).sample
        return torch.nn.functional.mse_loss(prediction.float(), noise)

    def train():
        for _ in range(TRAINING_STEPS):
            timesteps = torch.randint(0, 1000, (BATCH,), device="cuda")
            loss_of(latents, torch.randn_like(latents), timesteps, context).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            torch._foreach_lerp_(averages, [value.detach() for value in weights], 1 - MOMENTUM)

    unet.train()
    return median_seconds(waiting(train), 3) / TRAINING_STEPS
