"""Measures encoding and decoding in tiles: `python -m benchmarks.tiles [PRESET] --side 1024 --tile-sizes 512 256`.

The image is a mosaic of generated ones. Each size runs in a process of its own and reports its peak memory, its time
and how far its pixels are from those of the whole image.
"""

import argparse
import json
import multiprocessing
import resource
import time

import numpy as np

PROMPTS = ["a red apple, 3d", "a smiling cat, flat", "an owl, noto", "a green rocket, flat"]


def mosaic(preset, side):
    """uint8 (1, side, side, 3): different images side by side."""
    from latentdiff import TextToImage

    model = TextToImage.from_preset(preset)
    count = -(-side // model.image_size[0])
    images = model.generate(PROMPTS, seed=1, num_images=4, num_steps=8)
    rows = [np.concatenate([images[(row * 5 + column) % 16] for column in range(count)], 1) for row in range(count)]
    return np.concatenate(rows)[None, :side, :side]


def code(preset, images, tile_size):
    """(decoded images, peak memory in MB without the opened model, seconds of the second decoding)."""
    from latentdiff import TextToImage
    from latentdiff.models.coding import compiled_coders

    encode, decode = compiled_coders(TextToImage.from_preset(preset).model, tile_size)
    before = _peak()
    latents = encode(images)
    decode(latents)
    start = time.perf_counter()
    made = np.asarray(decode(latents))
    return made, _peak() - before, time.perf_counter() - start


def measure(whole, tiled):
    """PSNR, and the largest and the mean difference in levels."""
    from latentdiff.evaluation import psnr

    gap = np.abs(tiled.astype(int) - whole)
    return {"psnr": float(psnr(tiled, whole)[0]), "largest": int(gap.max()), "mean": float(gap.mean())}


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _apart(function, *args):
    """What a function returns in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", nargs="?", default="emoji-128", help="name or folder of a preset")
    parser.add_argument("--side", type=int, default=1024, help="of the image in pixels")
    parser.add_argument("--tile-sizes", type=int, nargs="+", default=[512, 256], help="sides of tiles in pixels")
    args = parser.parse_args(argv)
    images = _apart(mosaic, args.preset, args.side)
    whole = None
    for tile_size in (None, *args.tile_sizes):
        made, memory, seconds = _apart(code, args.preset, images, tile_size)
        whole = made if whole is None else whole
        row = {"tile_size": tile_size, "memory_mb": round(memory), "seconds": round(seconds, 2)}
        print(json.dumps({**row, **measure(whole, made)}), flush=True)


if __name__ == "__main__":
    main()
