"""Trains a VAE or a GAN on the latents of a run, to compare diffusion with.

python -m training.train_baseline gan --experiment training/experiments/baselines.py --text-encoder MINILM \
    --minutes 2 --output runs/baselines

Needs the latents of `latentdiff train latents` in the output folder; writes gan.keras or vae.keras, which
benchmarks/baselines.py compares.
"""

import argparse
import sys

from latentdiff import cli
from latentdiff.commands.train import run_stage
from latentdiff.commands.train_options import add_options

BASELINES = ("vae", "gan")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("baseline", choices=BASELINES)
    add_options(parser, "text_encoder", "epochs", "minutes")
    parser.set_defaults(run=lambda args: run_stage(args, train))
    return cli.run(parser.parse_args(argv))


def train(args, run):
    from latentdiff.recipes.baselines.train import train_baseline  # slow to import

    return train_baseline(args.baseline, run, args.text_encoder)


if __name__ == "__main__":
    sys.exit(main())
