"""Compares the images of quantized exports with those of the float32 one.

    python benchmarks/edge_pictures.py FLOAT_FOLDER FOLDER ... --data DATA --metrics METRICS \\
        --output DIR [--num-prompts 50] [--threads 2]

The prompts are the first validation captions of the data, and the first of `prompts/paraphrases.json`, which no
training caption is like. Seed i for prompt i. Writes a contact sheet of each set: the folders side by side, then the
next prompt.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.scoring import FEATURE_WEIGHTS, LPIPS_WEIGHTS
from latentdiff.data.captioned_images import load_images
from latentdiff.data.images import image_grid, save_png
from latentdiff.evaluation import KID, paired_distances, psnr
from latentdiff.evaluation.feature_cache import FeatureCache
from latentdiff.models.losses import LPIPS
from latentdiff.runtimes.edge import EdgePipeline

PARAPHRASES = Path(__file__).with_name("prompts") / "paraphrases.json"
SHEET_COLUMNS = 5  # prompts side by side on a contact sheet


def pictures(folder, prompts, threads):
    """uint8 images (n, height, width, 3) of an exported folder."""
    pipeline = EdgePipeline(folder, threads)
    return pipeline.generate(prompts, seed=list(range(len(prompts))))


def kid(real, generated):
    metric = KID()
    metric.update_real(real)
    metric.update_generated(generated)
    return metric.result().value


def report(name, prompts, args, real, features, lpips):
    """Prints a table for one set of prompts and writes its contact sheet."""
    made = [pictures(folder, prompts, args.threads) for folder in args.folders]
    print(
        f"\n| {name}, {len(prompts)} prompts | PSNR, mean | median | least | LPIPS, mean | most | KID to real, x 1000 |"
    )
    print("|---|---|---|---|---|---|---|")
    for folder, images in zip(args.folders, made, strict=True):
        decibels, distances = psnr(made[0], images), paired_distances(lpips, made[0], images)
        first = [f"{np.mean(decibels):.1f}", f"{np.median(decibels):.1f}", f"{np.min(decibels):.1f}"]
        second = [f"{np.mean(distances):.4f}", f"{np.max(distances):.4f}", f"{1000 * kid(real, features(images)):.2f}"]
        print("| " + " | ".join([folder.name, *first, *second]) + " |", flush=True)
    rows = np.stack(made, axis=1)  # (prompts, folders, height, width, 3)
    sheet = image_grid(rows.reshape(-1, *rows.shape[2:]), columns=SHEET_COLUMNS * len(made))
    save_png(args.output / f"{name.replace(' ', '_')}.png", sheet, {"prompts": json.dumps(prompts)})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="exported folders, that of float32 first")
    parser.add_argument("--data", required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--num-prompts", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    size = json.loads((args.folders[0] / "manifest.json").read_text())["image_size"][0]
    data = load_images(args.data, size, split="validation")
    features = FeatureCache(args.metrics / FEATURE_WEIGHTS)
    real = features(data.images)
    lpips = LPIPS(args.metrics / LPIPS_WEIGHTS)
    captions = data.prompts[: args.num_prompts]
    paraphrases = [entry["prompt"] for entry in json.loads(PARAPHRASES.read_text())[: args.num_prompts]]
    for name, prompts in (("validation captions", captions), ("paraphrases", paraphrases)):
        report(name, prompts, args, real, features, lpips)


if __name__ == "__main__":
    main()
