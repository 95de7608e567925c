"""diffusers' U-Net of a given shape in a sampling loop, timed in PyTorch: a peer for `benchmarks.serving`.

Runs in a Python that has torch and diffusers, and needs nothing of this package. It reads the shape as a line of JSON,
then lines such as `{"mode": "frozen", "batch": 4, "steps": 10}`, and answers each with a line of JSON.
"""

import json
import os
import sys
import time

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin make a busy neighbour cost 2 to 5 times more

import torch  # noqa: E402
from diffusers import UNet2DConditionModel  # noqa: E402
from diffusers.models.attention import FeedForward  # noqa: E402

MODES = {"eager": None, "compiled": {}, "frozen": {"freezing": True}}


def build(shape):
    """A U-Net with random weights, as `latentdiff.UNet` with the same arguments has it."""
    last = len(shape["widths"]) - 1
    attention = [level in shape["attention_levels"] for level in range(last + 1)]
    model = UNet2DConditionModel(
        sample_size=shape["latent_shape"][0],
        in_channels=shape["latent_shape"][2],
        out_channels=shape["latent_shape"][2],
        block_out_channels=tuple(shape["widths"]),
        layers_per_block=shape["num_blocks"],
        down_block_types=["CrossAttnDownBlock2D" if has else "DownBlock2D" for has in attention],
        up_block_types=["CrossAttnUpBlock2D" if has else "UpBlock2D" for has in reversed(attention)],
        cross_attention_dim=shape["context_dim"],
        attention_head_dim=tuple(shape["num_heads"]),  # diffusers means the number of heads
        norm_num_groups=shape["groups"],
        use_linear_projection=shape["linear_projection"],
    )
    for module in model.modules():  # its feed-forward layers are always four times as wide
        if isinstance(getattr(module, "ff", None), FeedForward):
            module.ff = FeedForward(module.norm3.normalized_shape[0], mult=shape["expansion"], activation_fn="geglu")
    return model.eval()


def sample(model, shape, batch, steps):
    """Guided DDIM from random context: what `TextToImage.generate` does between text encoder and decoder."""
    height, width, channels = shape["latent_shape"]
    latents = torch.randn(batch, channels, height, width)
    context = torch.randn(2 * batch, shape["num_tokens"], shape["context_dim"])
    mask = torch.ones(2 * batch, shape["num_tokens"], dtype=torch.bool)
    rates = torch.linspace(0.01, 0.99, steps + 1)
    for step in range(steps):
        timesteps = torch.full((2 * batch,), 999.0 * (1 - step / steps))
        both = torch.cat([latents] * 2)
        prediction = model(both, timesteps, encoder_hidden_states=context, encoder_attention_mask=mask).sample
        with_text, without = prediction.chunk(2)
        velocity = without + 3.0 * (with_text - without)
        signal, noise = rates[step], (1 - rates[step] ** 2).sqrt()
        pred_latents, pred_noise = signal * latents - noise * velocity, noise * latents + signal * velocity
        latents = rates[step + 1] * pred_latents + (1 - rates[step + 1] ** 2).sqrt() * pred_noise
    return latents


def main():
    shape = json.loads(sys.stdin.readline())
    torch.manual_seed(0)
    model = build(shape)
    with torch.inference_mode(False), torch.no_grad():
        models = {mode: model if options is None else None for mode, options in MODES.items()}
        print(json.dumps({"parameters": sum(value.numel() for value in model.parameters())}), flush=True)
        for line in sys.stdin:
            request = json.loads(line)
            mode = request.pop("mode")
            if models[mode] is None:
                models[mode] = torch.compile(model, dynamic=False, options=MODES[mode])
            start = time.perf_counter()
            sample(models[mode], shape, **request)
            print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main()
