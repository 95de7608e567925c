"""Builds a set of captioned emoji in up to ten drawing styles from public npm icon packages, as parquet shards.

    pip install latentdiff[train] resvg-py
    python -m training.datasets.build_emoji --output emoji                              # all: minutes, about 40 MB
    python -m training.datasets.build_emoji --output emoji --styles flat 3d --limit 50  # a quick look

Needs the `npm` command. One row is one emoji in one style: 128 x 128 pixels on white as lossless WebP. Skin-tone
variants and flags of countries and regions are left out. Captions are "label, style" with the label of Unicode CLDR.
Some styles are CC BY 4.0: whoever passes their images on names the authors (see the columns `licence` and `source`).

Split: for 3 % of the emoji, drawn with (seed, id), one style goes to "validation". All the rest is "train", so that a
validation image shows a known thing in a style in which it was never seen.
"""

import argparse
import io
import itertools
import pathlib
import random

from PIL import Image

from latentdiff.data.images import crop, read_image
from latentdiff.whole_files import replaced
from training.datasets.emoji_packages import STYLES, drawings, read_emoji

SIZE = 128


def encode(data):
    """Any encoded image as lossless WebP, `SIZE` x `SIZE` pixels on white."""
    buffer = io.BytesIO()
    Image.fromarray(crop(read_image(data), (SIZE, SIZE))).save(buffer, "WEBP", lossless=True, method=6)
    return buffer.getvalue()


def held_out(key, styles, seed, fraction=0.03):
    """The style of an emoji that goes to validation, or None."""
    draw = random.Random(f"{seed} {key}")
    return draw.choice(styles) if draw.random() < fraction and len(styles) > 1 else None


def build_rows(emoji, sets, seed, limit):
    """Yields rows emoji by emoji, the emoji in an order drawn with `seed`."""
    keys = sorted(key for key in emoji if any(key in drawn for drawn in sets.values()))
    random.Random(seed).shuffle(keys)
    for key in keys[:limit]:
        styles = [style for style in sets if key in sets[style]]
        for style in styles:
            (package, licence), entry = STYLES[style], emoji[key]
            split = "validation" if style == held_out(key, styles, seed) else "train"
            row = {"image": encode(sets[style][key]()), "id": key, **entry, "style": style}
            row |= {"caption": f"{entry['label']}, {style}", "licence": licence}
            yield row | {"source": " ".join(package.rsplit("@", 1)), "split": split}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder for the shards")
    parser.add_argument("--styles", nargs="+", choices=STYLES, default=list(STYLES), metavar="STYLE")
    parser.add_argument("--limit", type=int, help="number of emoji (default: all of about 1,600)")
    parser.add_argument("--shards", type=int, default=3, help="at most so many files (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="for the order and the split")
    parser.add_argument("--work", type=pathlib.Path, help="folder for the packages (default: OUTPUT/.packages)")
    args = parser.parse_args()
    if min(args.shards, 1 if args.limit is None else args.limit) < 1:
        parser.error("--limit and --shards must be positive")
    if list(args.output.glob("*.parquet")):
        parser.error(f"--output must be a folder without parquet files, received {args.output}")
    import pyarrow
    from pyarrow import parquet

    work = args.work or args.output / ".packages"
    for folder in (args.output, work):
        folder.mkdir(parents=True, exist_ok=True)
    emoji, names = read_emoji(work)
    sets = {style: drawings(style, names, work, SIZE) for style in args.styles}
    rows = list(build_rows(emoji, sets, args.seed, args.limit))
    if not rows:
        parser.error(f"--styles must have an image of the emoji. Received: {args.styles}")
    shards = min(args.shards, len(rows))
    bounds = [len(rows) * shard // shards for shard in range(shards + 1)]
    for shard, (start, stop) in enumerate(itertools.pairwise(bounds)):
        path = args.output / f"emoji-{shard:05d}-of-{shards:05d}.parquet"
        with replaced(path) as draft:
            parquet.write_table(pyarrow.Table.from_pylist(rows[start:stop]), draft)
        print(f"{path}: {stop - start} images")


if __name__ == "__main__":
    main()
