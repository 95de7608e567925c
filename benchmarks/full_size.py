"""Times the architecture of Stable Diffusion 1.5 at full size, with random weights, on a GPU.

    KERAS_BACKEND=jax python -m benchmarks.full_size keras
    python -m benchmarks.full_size torch

Run both on the same card, one after the other; each prints a line of JSON. `torch` is diffusers compiled by PyTorch,
and needs nothing of this package. Both compute in bfloat16: one guided call of the U-Net (batch 2), an image of 512 x
512 pixels from text features to pixels by 20 guided steps of DDIM and the decoder, and a training step of 16 latents of
64 x 64 with float32 weights, AdamW and a moving average of the weights. Medians, after calls for warming up.
"""

import argparse
import json


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=("keras", "torch"))
    if parser.parse_args().side == "keras":
        from benchmarks.full_size_keras import measure
    else:
        from benchmarks.full_size_torch import measure
    for row in measure():
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
