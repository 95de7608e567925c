"""Compares diffusion with two baselines, a VAE and a GAN on the same latents.

    python benchmarks/baselines.py RUN --baselines-trained "2 minutes on one H100" \\
        --same-time PRESET --same-time-trained "2 minutes on one H100" \\
        --preset PRESET --preset-trained "17 minutes on four H100s" --timed-on "two CPU cores" \\
        --data DATA --metrics METRICS --output FOLDER

RUN is a folder with gan.keras and vae.keras, of training/train_baseline.py, and the autoencoder.keras whose latents
they learned; --same-time a preset trained for as long on the same device, if
there is one, --preset the one that was trained for as long as it needs. FOLDER gets baselines.json with the measures,
and a sheet of images of each. All make images of the same captions of training images; seconds are those of
this machine. The record of the lesson (latentdiff/explain/baselines.py) is made with --output
latentdiff/explain/baselines_record.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import keras
import numpy as np
from keras import ops
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import scoring
from benchmarks.asked import are_training, asked_of_pictures, column, sample_rows
from benchmarks.scoring import DIVERSITY, FEATURE_WEIGHTS, LPIPS_WEIGHTS
from latentdiff import TextToImage
from latentdiff.data.captioned_images import load_images
from latentdiff.data.images import image_grid
from latentdiff.diffusion import noise
from latentdiff.evaluation.feature_cache import FeatureCache
from latentdiff.explain.baselines import COLUMNS
from latentdiff.explain.lesson import PROMPTS
from latentdiff.models.compilation import compile_function
from latentdiff.models.losses import LPIPS
from latentdiff.models.pixels import to_uint8
from latentdiff.recipes.baselines.networks import CODE_DIM, caption_features
from latentdiff.settings.prompt_syntax import parse
from latentdiff.whole_files import replaced, write_text

SHEET_SEED = 7


class Baseline:
    """Images from a generator: codes and text features in one call to latents, and those to images.

    Args:
        path: of the generator, a .keras file.
        autoencoder: the one that the latents are of.
        text_encoder: `TextEncoder`.
        batch_size: images made at once.
    """

    calls = 1

    def __init__(self, path, autoencoder, text_encoder, batch_size):
        self.generator = keras.saving.load_model(path)
        self.text_encoder, self.batch_size = text_encoder, batch_size

        def draw(codes, features):
            return to_uint8(autoencoder.decode(self.generator([codes, features])))

        self.draw = compile_function(draw, self.generator)

    def __call__(self, prompts, seeds):
        features = caption_features(self.text_encoder, [parse(prompt)[0].text for prompt in prompts])
        codes = ops.convert_to_numpy(noise.normal(np.asarray(seeds), (CODE_DIM,)))
        starts = range(0, len(prompts), self.batch_size)
        parts = [[part[start : start + self.batch_size] for part in (codes, features)] for start in starts]
        return np.concatenate([ops.convert_to_numpy(self.draw(*part)) for part in parts])


class Diffusion:
    """Images of a preset at its defaults."""

    def __init__(self, pipeline, batch_size):
        self.pipeline, self.batch_size, self.calls = pipeline, batch_size, pipeline.num_steps

    def __call__(self, prompts, seeds):
        return self.pipeline.generate(prompts, seed=[int(seed) for seed in seeds], batch_size=self.batch_size)


class Bench:
    """The real images and the networks that measure.

    Args:
        images: `latentdiff.data.captioned_images.CaptionedImages`, with `id` and `style` in their records.
        features: function from uint8 images to features.
        lpips: distance of pairs of images.
        num_images: images of each maker.
        batch_size: images made at once.
    """

    def __init__(self, pictures, features, lpips, num_images, batch_size):
        self.features, self.lpips, self.batch_size = features, lpips, batch_size
        ids, styles = (np.array(column(pictures, key)) for key in ("id", "style"))
        self.gallery = scoring.Gallery(features(pictures.images), ids, styles, are_training(pictures))
        self.set_scores = scoring.SetScores(self.gallery.features[self.gallery.training])
        rows = sample_rows(np.flatnonzero(self.gallery.training), num_images)
        self.asked = asked_of_pictures(pictures.select(rows))

    def measure(self, make):
        """The measures of one maker of images."""
        prompts = self.asked.prompts
        make(prompts[: self.batch_size], range(len(prompts[: self.batch_size])))  # compiles
        start = time.perf_counter()
        images = make(prompts, range(len(prompts)))
        seconds = (time.perf_counter() - start) / len(prompts)
        features = self.features(images)
        truth = scoring.retrieval_scores(features, self.asked, self.gallery)
        num_prompts, num_seeds = min(DIVERSITY[0], len(prompts)), DIVERSITY[1]
        repeated = [prompt for prompt in prompts[:num_prompts] for _ in range(num_seeds)]
        drawn = make(repeated, list(range(num_seeds)) * num_prompts)
        spread = float(np.mean(scoring.diversities(drawn, num_seeds, self.lpips)))
        measures = {"calls": make.calls, "seconds": seconds, "diversity": spread, "emoji_at_5": truth["emoji_at_5"]}
        return {**self.set_scores(features), **measures}


def save_sheet(path, make):
    """The prompts of the lesson, one image each, in rows: lossless WebP."""
    images = make(list(PROMPTS), SHEET_SEED + np.arange(len(PROMPTS)))
    with replaced(path) as draft:
        Image.fromarray(image_grid(images, columns=COLUMNS, padding=0)).save(draft, "WEBP", lossless=True)


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("run", type=Path, help="folder with autoencoder.keras, gan.keras and vae.keras")
    add("--baselines-trained", required=True, help="how long those were trained and on what, for the record")
    add("--same-time", help="preset that was trained about as long; without it that row is left out")
    add("--same-time-trained", help="how long and on what; default: as those of RUN")
    add("--preset", required=True, help="preset that was trained as long as it needs")
    add("--preset-trained", required=True, help="how long and on what")
    add("--timed-on", required=True, help="what this machine is, for the record")
    add("--data", required=True, help="captioned images, as `latentdiff train --data` takes them")
    add("--metrics", required=True, type=Path, help=f"folder with {FEATURE_WEIGHTS} and {LPIPS_WEIGHTS}")
    add("--output", required=True, type=Path, help="folder of the record")
    add("--cache", help="folder that keeps features between runs")
    add("--num-images", type=int, default=1000, help="images of each (default: 1000)")
    add("--batch-size", type=int, default=50, help="images made at once (default: 50)")
    return parser.parse_args(argv)


def load_makers(args, pipeline):
    """{name of `latentdiff.explain.baselines.MAKERS`: (how long it was trained, function that makes images)}."""
    shared = keras.saving.load_model(args.run / "autoencoder.keras", compile=False), pipeline.model.text_encoder
    makers = {
        "vae": (args.baselines_trained, Baseline(args.run / "vae.keras", *shared, args.batch_size)),
        "gan": (args.baselines_trained, Baseline(args.run / "gan.keras", *shared, args.batch_size)),
    }
    if args.same_time:
        trained = args.same_time_trained or args.baselines_trained
        makers["diffusion"] = trained, Diffusion(TextToImage.from_preset(args.same_time), args.batch_size)
    return {**makers, "diffusion_in_full": (args.preset_trained, Diffusion(pipeline, args.batch_size))}


def main(argv=None):
    args = parse_arguments(argv)
    pipeline = TextToImage.from_preset(args.preset)
    makers = load_makers(args, pipeline)
    pictures = load_images(args.data, pipeline.image_size[0])
    features = FeatureCache(args.metrics / FEATURE_WEIGHTS, args.cache, args.batch_size)
    bench = Bench(pictures, features, LPIPS(args.metrics / LPIPS_WEIGHTS), args.num_images, args.batch_size)
    record = {
        "timed_on": args.timed_on,
        "pictures": len(bench.asked),
        "prompts": PROMPTS,
        "seed": SHEET_SEED,
        "makers": {},
    }
    args.output.mkdir(parents=True, exist_ok=True)
    for name, (trained, make) in makers.items():
        measures = bench.measure(make)
        record["makers"][name] = {"trained": trained, **measures}
        print(f"{name}, {trained}:", {key: round(value, 4) for key, value in measures.items()}, flush=True)
        save_sheet(args.output / f"{name}.webp", make)
    write_text(args.output / "baselines.json", json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
