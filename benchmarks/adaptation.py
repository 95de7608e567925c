"""Measures ways to teach a preset a thing: `python benchmarks/adaptation.py PRESET --word FILE --trained PRESET ...`.

For each prompt, images of the preset, of the preset with a word of textual inversion, and of a preset that was trained
on the images (DreamBooth), from equal initial noise; how similar each is to the most similar training image (cosine of
features), and all side by side on a sheet. `WORD` in a prompt stands for the word of each way.
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

PLACE = "WORD"


def compare(ways, prompts, training_images, feature_model, num_images=2):
    """Images and similarities of several ways.

    Args:
        ways: dict of name -> (`TextToImage`, str, what its prompts call the thing).
        prompts: list of str, with `PLACE` where the thing is named.
        training_images: uint8 (n, height, width, 3).
        feature_model: see `evaluation.extract_features`.
        num_images: images per prompt, with seeds 0, 1, ...

    Returns:
        images: dict of name -> uint8 (prompts, num_images, height, width, 3).
        rows: for each prompt a dict of `prompt` and, by name, the mean similarity.
    """
    images = {}
    for name, (pipeline, word) in ways.items():
        made = pipeline.generate([prompt.replace(PLACE, word) for prompt in prompts], seed=0, num_images=num_images)
        images[name] = made.reshape(len(prompts), num_images, *made.shape[1:])
    return images, similarity_rows(images, prompts, training_images, feature_model)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", help="name or folder of a preset")
    parser.add_argument("--word", required=True, help="file of textual inversion")
    parser.add_argument("--trained", required=True, help="preset that was trained on the images")
    parser.add_argument("--called", required=True, help="what the captions of that training call the thing")
    parser.add_argument("--data", required=True, help="the images, as `latentdiff train` takes them")
    parser.add_argument("--features", required=True, help="feature model, see evaluation.feature_models")
    parser.add_argument("--prompts", required=True, nargs="+", metavar="PROMPT", help=f"with {PLACE} for the thing")
    parser.add_argument("--num-images", type=int, default=2, help="images per prompt")
    parser.add_argument("--output", required=True, type=Path, help="PNG: a row per prompt, the ways from left to right")
    args = parser.parse_args(argv)
    worded = TextToImage.from_preset(args.preset)
    word = worded.load_textual_inversion(args.word)
    ways = {
        "preset": (TextToImage.from_preset(args.preset), args.called),
        "textual inversion": (worded, word),
        "trained": (TextToImage.from_preset(args.trained), args.called),
    }
    known = np.asarray(load_images(args.data, worded.image_size[0]).images)
    images, rows = compare(ways, args.prompts, known, load_feature_model(args.features), args.num_images)
    for row in rows:
        print(json.dumps(row), flush=True)
    sheet = np.concatenate(list(images.values()), axis=1)
    save_png(args.output, image_grid(np.concatenate(sheet), columns=sheet.shape[1]), {"preset": args.preset})


if __name__ == "__main__":
    main()
