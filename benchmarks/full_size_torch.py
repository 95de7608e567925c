"""The side of `benchmarks.full_size` that is diffusers, compiled by PyTorch."""

import copy

import diffusers
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from benchmarks.full_size_shapes import (
    BATCH,
    CHANNELS,
    MOMENTUM,
    RATE,
    SCALE,
    SIDE,
    STEPS,
    TOKENS,
    TRAINING_STEPS,
    WIDTH,
    median_seconds,
)

VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": CHANNELS,
}


def measure():
    """Yields a dict for each measure, as soon as it is there."""
    unet = UNet2DConditionModel(sample_size=SIDE, cross_attention_dim=WIDTH).to(
        "cuda", memory_format=torch.channels_last
    )
    count = sum(weights.numel() for weights in unet.parameters())
    yield {"torch": torch.__version__, "diffusers": diffusers.__version__, "parameters": count}
    half = copy.deepcopy(unet).to(torch.bfloat16).eval()
    compiled = torch.compile(half, mode="max-autotune-no-cudagraphs")
    yield {"guided call, s": guided_call(compiled)}
    yield {"image, s": image(compiled)}
    yield {"training step, s": training_step(unet)}


def normal(*shape, dtype=torch.bfloat16):
    return torch.randn(*shape, device="cuda", dtype=dtype)


def waiting(function):
    """`function`, which then returns when the card is done."""

    def call():
        function()
        torch.cuda.synchronize()

    return call


@torch.inference_mode()
def guided_call(unet):
    latents, context = normal(2, CHANNELS, SIDE, SIDE), normal(2, TOKENS, WIDTH)
    return median_seconds(waiting(lambda: unet(latents, 500, encoder_hidden_states=context)), 20)


@torch.inference_mode()
def image(unet):
    vae = AutoencoderKL(**VAE).to("cuda", torch.bfloat16).eval()
    decode = torch.compile(vae.decode)
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False)
    scheduler.set_timesteps(STEPS, device="cuda")
    noise, context = normal(1, CHANNELS, SIDE, SIDE), normal(2, TOKENS, WIDTH)

    def draw():
        latents = noise
        for timestep in scheduler.timesteps:
            with_text, without = unet(latents.repeat(2, 1, 1, 1), timestep, encoder_hidden_states=context).sample.chunk(
                2
            )
            prediction = without + SCALE * (with_text - without)
            latents = scheduler.step(prediction, timestep, latents).prev_sample
        return decode(latents / vae.config.scaling_factor).sample

    return median_seconds(waiting(draw), 5)


def training_step(unet):
    optimizer = torch.optim.AdamW(unet.parameters(), RATE, fused=True)
    weights, averages = list(unet.parameters()), [value.detach().clone() for value in unet.parameters()]
    alpha_bars = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012).alphas_cumprod.cuda()
    latents, context = normal(BATCH, CHANNELS, SIDE, SIDE, dtype=torch.float32), normal(BATCH, TOKENS, WIDTH)

    @torch.compile(mode="max-autotune-no-cudagraphs")
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
