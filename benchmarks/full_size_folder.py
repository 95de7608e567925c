"""Writes random weights in the exact shapes of Stable Diffusion 1.5 as a folder in diffusers' layout, with float16.

    python -m benchmarks.full_size_folder FOLDER

It takes 2.2 GB of disk and 3.1 GB of memory. Its images show nothing; it is there to measure time and memory.
"""

import argparse
import functools

import keras_hub
import numpy as np

from latentdiff import Autoencoder, LatentDiffusion, NoiseSchedule, TextEncoder, TextToImage
from latentdiff.convert.tokenizers import END, START
from latentdiff.convert.unread import give, without_values
from latentdiff.models.sizes import build_network

VOCABULARY, WIDTH, TOKENS, SIDE = 49_408, 768, 77, 64


def tokenizer():
    """CLIP's tokenizer with as many entries as the real one, merges of any two characters."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters = [chr(code) for code in (*printable, *range(256, 256 + 256 - len(printable)))]
    pairs = [f"{first} {second}" for first in characters for second in characters]
    merges = pairs[: VOCABULARY - 2 * len(characters) - 2]
    words = [*characters, *(f"{character}</w>" for character in characters)]
    words += [*(merge.replace(" ", "") for merge in merges), START, END]
    vocabulary = {word: index for index, word in enumerate(words)}
    return keras_hub.models.CLIPTokenizer(vocabulary, merges, pad_with_end_token=True)


def pipeline():
    """A `TextToImage` in the shapes of Stable Diffusion 1.5."""
    sizes = (VOCABULARY, WIDTH, WIDTH, 12, 12, 4 * WIDTH, "quick_gelu")
    backbone = keras_hub.models.CLIPTextEncoder(*sizes, max_sequence_length=TOKENS, name="clip_text_encoder")
    text_encoder = TextEncoder(backbone, tokenizer(), TOKENS, mask_padding=False)
    parts = (Autoencoder(4), text_encoder, build_network("sd15", (SIDE, SIDE, 4), WIDTH, TOKENS))
    model = LatentDiffusion(*parts, NoiseSchedule("scaled_linear"), "noise")
    model.autoencoder.latent_std.assign(np.full(4, 5.48999, "float32"))
    randomize(model)
    return TextToImage(model, sampler={"name": "dpmpp_2m", "spacing": "trailing"}, num_steps=25, guidance_scale=7.5)


def randomize(model):
    """Gives matrices and kernels Gaussian numbers; scales and biases keep their fresh values."""
    for index, weight in enumerate(model.variables):
        if len(weight.shape) >= 2:
            give(weight, functools.partial(_numbers, index, tuple(weight.shape)))


def _numbers(seed, shape):
    values = np.random.default_rng(seed).standard_normal(shape, dtype="float32")
    return values * np.prod(shape[:-1], dtype="float32") ** -0.5


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    arguments = parser.parse_args(argv)
    made, values = without_values(pipeline)
    with values:
        made.export_diffusers(arguments.folder, float16=True)


if __name__ == "__main__":
    main()
