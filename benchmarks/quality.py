"""Measures the images of a preset beside references: `python benchmarks/quality.py PRESET --data ... --output ...`.

Without PRESET the references alone are measured. All parts at their defaults make some 1,700 images: minutes on a
GPU, hours on a small CPU (see `--limit` and `--only`).
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from keras.ops import convert_to_numpy

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import asked as asks
from benchmarks import references, scoring
from benchmarks.report import Report
from benchmarks.scoring import DIVERSITY, FEATURE_WEIGHTS, LPIPS_WEIGHTS
from latentdiff.data.captioned_images import load_images
from latentdiff.diffusion.samplers import as_dict
from latentdiff.evaluation import paired_distances
from latentdiff.evaluation.feature_cache import FeatureCache
from latentdiff.models.losses import LPIPS
from latentdiff.models.pixels import to_float, to_uint8

NUM_TRAIN_PROMPTS = 1000
SHEET = 50  # images of a split on its contact sheet


class Bench:
    """Everything the parts share: the data, the networks, the model under test and the report."""

    def __init__(self, args, model=None):
        self.args, self.model = args, model
        size = args.image_size if model is None else model.image_size[0]
        self.pictures = load_images(args.data, size)
        self.features = FeatureCache(Path(args.metrics) / FEATURE_WEIGHTS, args.cache)
        self.lpips = LPIPS(Path(args.metrics) / LPIPS_WEIGHTS)
        asks.column(self.pictures, "split")  # without it nothing would be held out
        columns = {key: np.array(asks.column(self.pictures, key)) for key in ("id", "style", "label")}
        self.labels, training = columns["label"], asks.are_training(self.pictures)
        self.gallery = scoring.Gallery(self.features(self.pictures.images), columns["id"], columns["style"], training)
        held_out = np.flatnonzero(~training)
        trained = asks.sample_rows(np.flatnonzero(training), NUM_TRAIN_PROMPTS)
        self.rows = {"validation": held_out[: args.limit], "train": trained[: args.limit]}
        asked = asks.asked_of_pictures(self.pictures.select(held_out))
        self.set_scores = scoring.SetScores(self.gallery.features[training])
        self.threshold = scoring.copy_threshold(self.gallery.features[held_out], asked, self.gallery)
        given = {"num_steps": args.num_steps, "guidance_scale": args.guidance_scale, "sampler": args.sampler}
        self.options = {key: getattr(model, key, None) if value is None else value for key, value in given.items()}
        if args.temperature is not None:
            self.options["sampler"] = {**as_dict(self.options["sampler"]), "temperature": args.temperature}
        self.report = Report(args.output, {"preset": args.preset, **self.options, "image_size": size})
        self.report.facts = {"num_real": int(training.sum()), "threshold": self.threshold}

    def generate(self, prompts, seeds=None):
        """uint8 images; seed i for prompt i unless told otherwise. Writes down the seconds per image."""
        start = time.perf_counter()
        seeds = list(range(len(prompts))) if seeds is None else seeds
        images = self.model.generate(prompts, seed=seeds, batch_size=self.args.batch_size, **self.options)
        self.report.facts["seconds_a_picture"] = (time.perf_counter() - start) / len(prompts)
        return images

    def reconstruct(self, images):
        """uint8 images through the autoencoder and back."""
        autoencoder, size = self.model.model.autoencoder, self.args.batch_size
        batches = (to_float(images[start : start + size]) for start in range(0, len(images), size))
        return np.concatenate([convert_to_numpy(to_uint8(autoencoder.decode(autoencoder.encode(x)))) for x in batches])

    def score(self, part, kind, features, asked, sets=True):
        """Adds a row of the table of images; `sets` where the images should be spread like the training ones."""
        row = scoring.retrieval_scores(features, asked, self.gallery)
        row |= scoring.copy_scores(features, asked, self.gallery, self.threshold)
        if sets:
            row |= self.set_scores(features)
        self.report.add("pictures", prompts=part, pictures=kind, number=len(asked), **row)
        print(part, kind, {key: round(value, 4) for key, value in row.items()}, flush=True)

    def score_generated(self, part, asked, sets=True):
        """Generates, scores and keeps the answers; gives back the images."""
        images = self.generate(asked.prompts)
        features = self.features(images)
        self.score(part, "generated", features, asked, sets)
        self.report.add_answers(part, scoring.nearest_answers(features, asked, self.gallery, self.labels))
        return images


def measure_references(bench):
    """Real images, the same made worse, and the memoriser's answers, on the prompts of both splits."""
    for split, rows in bench.rows.items():
        real = bench.pictures.select(rows)
        asked = asks.asked_of_pictures(real)
        kinds = {"real": real.images, "half resolution": references.half_resolution(real.images)}
        kinds["blurred"] = references.blurred(real.images)
        if bench.model is not None:
            kinds["reconstructed"] = bench.reconstruct(real.images)
        for kind, images in kinds.items():
            bench.score(split, kind, bench.features(images), asked)
        if split == "validation":
            answers = references.memoriser_answers(asked, bench.gallery)
            bench.score(split, "same emoji, other style", bench.gallery.features[answers], asked)


def measure_autoencoder(bench):
    """Reconstructions of the validation split, beside the same images made worse."""
    images = bench.pictures.images[bench.rows["validation"]]
    kinds = {"reconstructed": bench.reconstruct(images)} if bench.model is not None else {}
    kinds |= {"half resolution": references.half_resolution(images), "blurred": references.blurred(images)}
    for kind, worse in kinds.items():
        row = scoring.reconstruction_scores(images, worse, paired_distances(bench.lpips, images, worse))
        bench.report.add("reconstruction", pictures=kind, number=len(images), **row)
        print("autoencoder", kind, {key: round(value, 4) for key, value in row.items()}, flush=True)
    if bench.model is not None:
        pairs = np.stack([images, kinds["reconstructed"]], axis=1)[:SHEET].reshape(-1, *images.shape[1:])
        bench.report.sheet("autoencoder", pairs, columns=10)


def measure_split(bench, split):
    """Captions of a split; the sheet shows the real image before each generated one."""
    real = bench.pictures.select(bench.rows[split])
    images = bench.score_generated(split, asks.asked_of_pictures(real))
    shown = np.linspace(0, len(images) - 1, min(SHEET, len(images))).astype(int)
    pairs = np.stack([real.images[shown], images[shown]], axis=1).reshape(-1, *images.shape[1:])
    bench.report.sheet(split, pairs, columns=10)


def measure_paraphrases(bench):
    """The same emoji in other words."""
    asked = asks.load_paraphrases(bench.gallery.ids, bench.gallery.styles).first(bench.args.limit)
    bench.report.sheet("paraphrases", bench.score_generated("paraphrases", asked, sets=False), columns=10)


def measure_compositions(bench):
    """Things that no image shows, for the eye; the sheet is in the order of the answers, eight a row."""
    rows = asks.load_compositions()[: bench.args.limit]
    images = bench.generate([row["prompt"] for row in rows])
    bench.report.sheet("compositions", images, columns=8)
    bench.report.add_answers("compositions", [row | {"seed": seed} for seed, row in enumerate(rows)])


def measure_diversity(bench):
    """Several seeds of one prompt, beside real images of as many different emoji in its style."""
    num_prompts, num_seeds = DIVERSITY
    rows = asks.sample_rows(bench.rows["validation"], num_prompts)
    rng, images = np.random.default_rng(0), bench.pictures.images
    kinds = {"different emoji of one style, real": np.concatenate([
        images[rng.choice(np.flatnonzero(bench.gallery.styles == bench.gallery.styles[row]), num_seeds, replace=False)]
        for row in rows
    ])}  # fmt: skip
    if bench.model is not None:
        prompts = [bench.pictures.prompts[row] for row in rows for _ in range(num_seeds)]
        kinds["generated"] = bench.generate(prompts, seeds=list(range(num_seeds)) * len(rows))
        bench.report.sheet("diversity", kinds["generated"], columns=2 * num_seeds)
    for kind, pictures in kinds.items():
        values = scoring.diversities(pictures, num_seeds, bench.lpips)
        row = {"diversity": float(np.mean(values)), "diversity_lowest": float(np.min(values))}
        bench.report.add("diversity", pictures=kind, number=len(rows), seeds=num_seeds, **row)
        print("diversity", kind, row, flush=True)


# Part -> how it is measured, and whether there is something to measure without a model.
PARTS = {
    "references": (measure_references, True),
    "autoencoder": (measure_autoencoder, True),
    "validation": (lambda bench: measure_split(bench, "validation"), False),
    "train": (lambda bench: measure_split(bench, "train"), False),
    "paraphrases": (measure_paraphrases, False),
    "compositions": (measure_compositions, False),
    "diversity": (measure_diversity, True),
}


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", nargs="?", help="preset folder; without it only references are measured")
    parser.add_argument("--data", required=True, help="captioned images with id, label, style and split")
    parser.add_argument("--metrics", required=True, help=f"folder with {FEATURE_WEIGHTS} and {LPIPS_WEIGHTS}")
    parser.add_argument("--output", required=True, help="folder for quality.json, quality.md and contact sheets")
    parser.add_argument("--cache", help="folder that keeps features between runs")
    parser.add_argument("--num-steps", type=int, help="denoising steps; default: the preset's")
    parser.add_argument("--guidance-scale", type=float, help="default: the preset's")
    parser.add_argument("--sampler", help="name of a sampler; default: the preset's")
    parser.add_argument("--lora", type=Path, help="LoRA file, such as one of a distilled network")
    parser.add_argument("--temperature", type=float, help="of the first noise; default: the preset's")
    parser.add_argument("--batch-size", type=int, default=16, help="images generated at once")
    parser.add_argument("--image-size", type=int, default=128, help="pixels a side where there is no preset")
    parser.add_argument("--limit", type=int, help="at most so many prompts a part")
    parser.add_argument(
        "--only", action="append", choices=list(PARTS), help="measure this part; may be given several times"
    )
    return parser.parse_args(argv)


def run(args, model=None):
    """Measures the parts asked for, leaving out those that need a model where there is none."""
    bench = Bench(args, model)
    for part in args.only or PARTS:
        function, without_model = PARTS[part]
        if model is not None or without_model:
            function(bench)
    print(bench.report.markdown())


def main(argv=None):
    args = parse_arguments(argv)
    if args.preset is None:
        return run(args)
    from latentdiff import TextToImage

    model = TextToImage.from_preset(args.preset)
    if args.lora:
        model.load_lora(args.lora)
    return run(args, model)


if __name__ == "__main__":
    main()
