"""Measures what an adapter teaches: `python benchmarks/lora.py PRESET --lora FILE --data FOLDER --output SHEET.png`.

For each prompt, images without and with the adapter from equal initial noise; how similar each is to the most similar
training image (cosine of features), and both side by side on a sheet.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.similarity import similarity_rows
from latentdiff import TextToImage
from latentdiff.data.captioned_images import load_images
from latentdiff.data.images import image_grid, save_png
from latentdiff.evaluation.feature_models import load_feature_model


def measure(pipeline, lora, prompts, training_images, feature_model, num_images=4, scale=1.0):
    """Images and similarities without and with an adapter.

    Args:
        pipeline: a `TextToImage`.
        lora: path of the LoRA file.
        prompts: list of str.
        training_images: uint8 (n, height, width, 3), those that the adapter was trained on.
        feature_model: see `evaluation.extract_features`.
        num_images: images per prompt, with seeds 0, 1, ...
        scale: of the adapter.

    Returns:
        images: dict of "plain" and "adapted" -> uint8 (prompts, num_images, height, width, 3).
        rows: for each prompt a dict of `prompt`, and `plain` and `adapted`, the mean similarity.
    """

    def generate():
        images = pipeline.generate(prompts, seed=0, num_images=num_images)
        return images.reshape(len(prompts), num_images, *images.shape[1:])

    images = {"plain": generate()}
    name = pipeline.load_lora(lora, scale)
    images["adapted"] = generate()
    pipeline.unload_lora(name)
    return images, similarity_rows(images, prompts, training_images, feature_model)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", help="name or folder of a preset")
    parser.add_argument("--lora", required=True, help="LoRA file")
    parser.add_argument("--data", required=True, help="the images it was trained on, as `latentdiff train` takes them")
    parser.add_argument("--features", required=True, help="feature model, see evaluation.feature_models")
    parser.add_argument("--prompts", required=True, nargs="+", metavar="PROMPT")
    parser.add_argument("--num-images", type=int, default=4, help="images per prompt")
    parser.add_argument("--scale", type=float, default=1.0, help="of the adapter")
    parser.add_argument("--output", required=True, type=Path, help="PNG: a row per prompt, left plain, right adapted")
    args = parser.parse_args(argv)
    pipeline = TextToImage.from_preset(args.preset)
    known = np.asarray(load_images(args.data, pipeline.image_size[0]).images)
    model = load_feature_model(args.features)
    images, rows = measure(pipeline, args.lora, args.prompts, known, model, args.num_images, args.scale)
    for row in rows:
        print(json.dumps(row), flush=True)
    pairs = np.concatenate([images["plain"], images["adapted"]], axis=1)
    save_png(args.output, image_grid(np.concatenate(pairs), columns=2 * args.num_images), {"lora": str(args.lora)})


if __name__ == "__main__":
    main()
