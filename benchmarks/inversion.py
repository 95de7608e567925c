"""Measures how well inverted images come back: `python benchmarks/inversion.py PRESET --data ... --output FILE.json`.

Real images are taken to the noise that makes them, and back, at guidance 1; beside it stands what the autoencoder
alone makes of them.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.asked import sample_rows
from latentdiff import ImageToImage, TextToImage
from latentdiff.data.captioned_images import load_images
from latentdiff.evaluation import psnr
from latentdiff.whole_files import write_text


def measure(model, images, prompts, num_steps, num_iterations):
    """PSNR of each image after it was inverted and sampled again, and of its reconstruction; and the noise's spread.

    Args:
        model: a `TextToImage`.
        images: uint8 (n, height, width, 3).
        prompts: n strings.
    """
    editor = ImageToImage.from_pipeline(model)
    reconstructed = editor.generate(prompts, images=images, strength=0.0)
    noise = model.invert(images, prompts, num_steps=num_steps, num_iterations=num_iterations)
    back = model.generate(prompts, noise=noise, num_steps=num_steps, guidance_scale=1.0, sampler="ddim")
    own, after = psnr(images, reconstructed), psnr(images, back)
    return {
        "num_steps": num_steps,
        "num_iterations": num_iterations,
        "autoencoder_psnr": own.tolist(),
        "psnr": after.tolist(),
        "largest_loss": float(np.max(own - after)),
        "median_loss": float(np.median(own - after)),
        "noise_std": float(noise.std()),
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", help="name or folder of a preset")
    parser.add_argument("--data", required=True, help="captioned images, as `latentdiff train --data` takes them")
    parser.add_argument("--output", required=True, type=Path, help="JSON file")
    parser.add_argument("--num-images", type=int, default=16)
    parser.add_argument("--num-steps", type=int, default=50)
    parser.add_argument("--num-iterations", type=int, nargs="+", default=[1, 3, 5], help="denoiser calls per step")
    args = parser.parse_args(argv)
    model = TextToImage.from_preset(args.preset)
    pictures = load_images(args.data, model.image_size[0])
    pictures = pictures.select(sample_rows(np.arange(len(pictures)), args.num_images))
    results = []
    for num_iterations in args.num_iterations:
        row = measure(model, pictures.images, pictures.prompts, args.num_steps, num_iterations)
        print({key: value for key, value in row.items() if not isinstance(value, list)}, flush=True)
        results.append(row)
        write_text(args.output, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
