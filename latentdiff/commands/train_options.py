"""The options of `latentdiff train`."""

import argparse
from pathlib import Path

from latentdiff.commands.prompts import Number
from latentdiff.settings.table import MAX_SEED


def add_options(parser, *names, init=None):
    """Adds the options of every stage, and those of `names`."""
    add = parser.add_argument
    if "data" in names:
        add("--data", required=True, metavar="SOURCE", help="captioned images: a folder, shards or tfds:NAME")
    add("--output", type=Path, required=True, metavar="FOLDER", help="folder of this run, the same for all stages")
    add("--experiment", default="my_pictures", metavar="NAME_OR_FILE", help="settings (default: my_pictures)")
    add(
        "--image-size",
        type=Number(int, 1),
        metavar="N",
        help="side in pixels of the training images (default: the experiment's)",
    )
    if "init" in names:
        add("--init", metavar="PRESET", help=init)
    if "text_encoder" in names:
        add("--text-encoder", metavar="PRESET", help="KerasHub text preset, a folder or a name, in place of --init's")
    if "metrics" in names:
        add("--metrics", type=Path, metavar="FOLDER", help="folder with lpips_alexnet_f16.npz, for the perceptual loss")
    _add_length(add, names)
    if "lora" in names:
        _add_lora(add)
    if "adapt" in names:
        _add_word_and_prior(add)
    if "buckets" in names:
        add("--bucket-step", type=Number(int, 1), metavar="N", help="keep proportions: sides are multiples of N pixels")
    if "memory" in names:
        add("--gradient-checkpointing", action="store_true", help="compute blocks again for the gradient: less memory")
        add("--query-chunk-size", type=Number(int, 1), metavar="N", help="queries of attention at a time: less memory")
    if "shard" in names:
        told = "do part I of N, from 1, so that N jobs share the work"
        add("--shard", type=share, metavar="I/N", default=(0, 1), help=told)
    seed = Number(int, 0, MAX_SEED)
    add("--seed", type=seed, metavar="S", help="seed of everything random (default: the experiment's)")
    add("--quick", action="store_true", help="a trial of minutes, to see that everything works")
    if "skip_corrupt" in names:
        add("--skip-corrupt", action="store_true", help="leave out images that can't be decoded, and name them")


def _add_length(add, names):
    """Adds the options that say how long to train, or to average, by the `add_argument` of a parser."""
    if "epochs" in names:
        add("--epochs", type=Number(int, 1), metavar="N", help="number of epochs (default: the experiment's)")
    if "minutes" in names:
        add("--minutes", type=above_zero, metavar="X", help="end training after so many minutes")
        add("--tensorboard", action="store_true", help="write losses, throughput and previews for TensorBoard")
    if "length" in names:
        length = "deviation in time, as a share of the training, such as 0.05"
        add("--length", type=above_zero, required=True, metavar="X", help=length)


def _add_lora(add):
    """Adds the options of an adapter, by the `add_argument` of a parser."""
    add("--lora-rank", type=Number(int, 1), metavar="N", help="train an adapter of this rank (LoRA)")
    add("--lora-alpha", type=above_zero, metavar="X", help="alpha / rank scales what it adds (default: the rank)")
    add("--lora-targets", metavar="LIST", help="attention, linear, convolution, joined by commas")


def _add_word_and_prior(add):
    """Adds the options of a new word and of a prior, by the `add_argument` of a parser."""
    add("--word", metavar="WORD", help="train a new word of the captions, such as '<glimp>' (textual inversion)")
    add("--word-vectors", type=Number(int, 1), metavar="N", help="its vectors, a token each (default: 1)")
    add("--word-like", metavar="TEXT", help="text that it means at first (default: the mean of all tokens)")
    add("--prior-prompt", metavar="PROMPT", help="also train on images that --init makes for it (DreamBooth)")
    add("--prior-images", type=Number(int, 1), metavar="N", help="number of them (default: 200)")
    add("--prior-weight", type=above_zero, metavar="X", help="weight of their loss (default: 1)")


def above_zero(text):
    """A `type` of argparse: a finite number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0. Received: {text!r}")
    return value


def share(text):
    """A `type` of argparse: "I/N", with I from 1 to N, as (I - 1, N)."""
    index, slash, parts = text.partition("/")
    if not (slash and index.isdecimal() and parts.isdecimal() and 1 <= int(index) <= int(parts)):
        raise argparse.ArgumentTypeError(f"must be I/N with I from 1 to N, such as 2/8. Received: {text!r}")
    return int(index) - 1, int(parts)
