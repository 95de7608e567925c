"""Measures how fast samplers converge: `python benchmarks/samplers.py PRESET --data ... --metrics ... --output ...`.

For each sampler and each number of denoiser calls per image, as many images as `--num-images` are made, always of the
same prompts and seeds, and compared as a set with the real training images. Each result is written at once; the same
command goes on where it was stopped, and once all is measured it draws the plot again (with matplotlib, if there).
"""

import argparse
import hashlib
import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import scoring
from benchmarks.asked import are_training, sample_rows
from benchmarks.convergence_report import write_report
from benchmarks.preset_digest import preset_digest
from benchmarks.scoring import FEATURE_WEIGHTS
from latentdiff import NoiseSchedule, TextToImage
from latentdiff.data.captioned_images import load_images
from latentdiff.diffusion import samplers
from latentdiff.evaluation.feature_cache import FeatureCache

COUNTS = (1, 2, 4, 8, 16, 32, 64, 100)


def calls_a_step(name):
    """How often a sampler asks the denoiser in one step, found by watching it."""
    sampler, asked = samplers.get(name), []

    def denoiser(noisy_latents, timesteps):
        asked.append(timesteps)
        return noisy_latents, noisy_latents

    latents, ones = np.ones((1, 2, 2, 3), "float32"), np.ones(1, "int32")
    sampler.advance(denoiser, NoiseSchedule(), latents, sampler.init_state(latents), 0, 2 * ones, ones)
    return len(asked)


def runs_of(names, counts):
    """The runs as (sampler, denoiser calls, num_steps): a sampler of two calls per step takes half as many steps.

    Raises:
        ValueError: a count below 1, or counts that are too low for any step.
    """
    if min(counts) < 1:
        raise ValueError(f"`counts` must be at least 1. Received: counts={list(counts)}")
    runs = []
    for name in names:
        calls = calls_a_step(name)
        steps = sorted({count // calls for count in counts} - {0})
        runs += [(name, calls * num_steps, num_steps) for num_steps in steps]
    if not runs:
        raise ValueError(f"`counts` must allow a step of one of {list(names)}. Received: counts={list(counts)}")
    return runs


class Bench:
    """The data, the model and the scores.

    Args:
        args: see `parse_arguments`.
        model: a `TextToImage`.
        features: function from uint8 images to features.
    """

    def __init__(self, args, model, features):
        self.args, self.model, self.features = args, model, features
        pictures = load_images(args.data, model.image_size[0])
        training = are_training(pictures)
        rows = np.flatnonzero(training)
        real = features(pictures.images[sample_rows(rows, args.num_real or len(rows), seed=1)])
        self.set_scores = scoring.SetScores(real)
        self.facts = {"num_real": len(real)}
        if (~training).any():
            held_out = pictures.images[~training][: args.num_real]
            self.facts["held_out"] = {"number": len(held_out), **self.set_scores(features(held_out))}
        chosen = sample_rows(rows, args.num_images)
        self.prompts = [pictures.prompts[row] for row in itertools.islice(itertools.cycle(chosen), args.num_images)]

    def measure(self, name, num_steps):
        """Scores of the images of one sampler at one number of steps."""
        # Whole batches only: under JAX each other size would be compiled anew.
        count = -(-len(self.prompts) // self.args.batch_size) * self.args.batch_size
        prompts = list(itertools.islice(itertools.cycle(self.prompts), count))
        images = self.model.generate(
            prompts,
            num_steps=num_steps,
            guidance_scale=self.args.guidance_scale,
            seed=list(range(count)),
            sampler=name,
            batch_size=self.args.batch_size,
        )[: len(self.prompts)]
        return self.set_scores(self.features(images))


def settings_of(args):
    """What the results depend on; results under other settings are not mixed with them."""
    names = ("num_images", "num_real", "guidance_scale", "batch_size")
    return {
        "preset": args.preset,
        "preset_digest": preset_digest(args.preset),
        "data": args.data,
        "features": hashlib.sha256((Path(args.metrics) / FEATURE_WEIGHTS).read_bytes()).hexdigest()[:16],
        **{name: getattr(args, name) for name in names},
    }


def load_results(path, settings):
    """The results of an earlier run of the same settings, or none.

    Raises:
        ValueError: the file is of a run with other settings.
    """
    if not path.exists():
        return {"settings": settings, "facts": {}, "rows": []}
    results = json.loads(path.read_text("utf-8"))
    if results["settings"] != settings:
        raise ValueError(
            f"`output` must be a new folder, or one of a run with the same settings {settings}. "
            f"Received: {path} with {results['settings']}"
        )
    return results


def run(args, load_model, load_features):
    """Measures what is not measured yet, and writes table and plot."""
    path = Path(args.output) / "samplers.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    results = load_results(path, settings_of(args))
    done = {(row["sampler"], row["calls"]) for row in results["rows"]}
    runs = [run for run in runs_of(args.samplers, args.counts) if run[:2] not in done]
    if runs:
        bench = Bench(args, load_model(), load_features())
        results["facts"] = {**bench.facts, "default": [str(bench.model.sampler), bench.model.num_steps]}
    start = time.perf_counter()
    for number, (name, calls, num_steps) in enumerate(runs, 1):
        row = {"sampler": name, "calls": calls, "num_steps": num_steps, **bench.measure(name, num_steps)}
        results["rows"].append(row)
        write_report(results, path.parent)
        numbers = {key: round(value, 4) for key, value in row.items() if isinstance(value, float)}
        print(
            f"{number} of {len(runs)}, {time.perf_counter() - start:.0f} s: {name}, {calls} calls", numbers, flush=True
        )
    print(write_report(results, path.parent, plot=True))


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("preset", help="name or folder of a preset")
    add("--data", required=True, help="captioned images, as `latentdiff train --data` takes them")
    add("--metrics", required=True, help=f"folder with {FEATURE_WEIGHTS}")
    add("--output", required=True, help="folder for samplers.json, samplers.md and samplers.png")
    add("--cache", help="folder that keeps the features of the real images between runs")
    add("--samplers", nargs="+", choices=list(samplers.SAMPLERS), default=list(samplers.SAMPLERS), help="default: all")
    add("--counts", nargs="+", type=int, default=list(COUNTS), help=f"denoiser calls per image (default: {COUNTS})")
    add("--num-images", type=int, default=1000, help="images of each sampler and count (default: 1000)")
    add("--num-real", type=int, help="real images to compare with (default: all training images)")
    add("--guidance-scale", type=float, help="default: the preset's")
    add("--batch-size", type=int, default=50, help="images made at once (default: 50)")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_arguments(argv)
    weights = Path(args.metrics) / FEATURE_WEIGHTS
    run(args, lambda: TextToImage.from_preset(args.preset), lambda: FeatureCache(weights, args.cache, args.batch_size))


if __name__ == "__main__":
    main()
