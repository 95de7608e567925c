"""Times the architectures of Stable Diffusion at full size, with random weights, on a GPU.

    KERAS_BACKEND=jax python -m benchmarks.full_size keras
    python -m benchmarks.full_size torch

Run both on the same card, one after the other; each prints a line of JSON for each measure. `torch` is diffusers
compiled by PyTorch, and needs nothing of this package. Both compute in bfloat16:

- call: one guided call of the U-Net of 1.5 (batch 2);
- image: one of 512 x 512 pixels, from text features to pixels by 20 guided steps of DDIM and the decoder;
- training: a training step of 16 latents of 64 x 64, with float32 weights, AdamW and a moving average of the weights;
- lora: the same step for an adapter of rank 16 in all attention;
- xl: one guided call of the U-Net of XL (batch 2, 1024 x 1024 pixels).

Medians, after calls for warming up. Name measures to take only these.
"""

import argparse
import json

MEASURES = ("call", "image", "training", "lora", "xl")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=("keras", "torch"))
    parser.add_argument("measures", nargs="*", default=MEASURES, help=f"of {', '.join(MEASURES)}; all by default")
    args = parser.parse_args()
    if args.side == "keras":
        from benchmarks import full_size_keras as side
    else:
        from benchmarks import full_size_torch as side
    print(json.dumps(side.versions()), flush=True)
    for name in args.measures:
        print(json.dumps({f"{name}, s": getattr(side, name)()}), flush=True)


if __name__ == "__main__":
    main()
