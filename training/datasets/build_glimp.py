"""Draws twenty captioned images of a glimp, a creature that no model knows: the example of docs/lora.md.

python -m training.datasets.build_glimp --output data/glimp
python -m training.datasets.build_glimp --output data/word --word "<glimp>"
"""

import argparse
import math
from pathlib import Path

from PIL import Image, ImageDraw

SIZE, SCALE = 128, 4  # pixels of an image, and of the canvas per pixel
COLOURS = {
    "red": (214, 48, 49),
    "blue": (52, 120, 220),
    "green": (60, 170, 80),
    "yellow": (245, 200, 45),
    "orange": (240, 130, 40),
}
POSES = {"": 0.0, "waving ": 0.0, "leaning ": 16.0, "sleeping ": 0.0}  # tilt, degrees


def draw(colour, pose):
    """An image (128, 128) of a glimp: an egg with one eye, two antennae, three legs and a white zigzag belt."""
    image = Image.new("RGB", (SIZE * SCALE,) * 2, "white")
    pen = ImageDraw.Draw(image)
    dark = tuple(channel * 6 // 10 for channel in colour)
    for x, tip in ((52, 36), (76, 92)):
        _line(pen, [(x, 34), (tip, 12)], dark, 4)
        _disc(pen, (tip, 12), 6, colour, dark)
    for x in (46, 64, 82):
        _line(pen, [(x, 98), (x, 116)], dark, 7)
    hand = 44 if pose.startswith("waving") else 88
    _line(pen, [(94, 70), (114, hand)], dark, 6)
    _line(pen, [(34, 70), (14, 88)], dark, 6)
    pen.ellipse(_scaled(28, 24, 100, 106), fill=colour, outline=dark, width=3 * SCALE)
    belt = [(31 + 6 * step, 84 - 7 * (step % 2)) for step in range(12)]
    _line(pen, belt, (255, 255, 255), 5)
    if pose.startswith("sleeping"):
        pen.arc(_scaled(46, 34, 82, 66), 20, 160, fill=dark, width=4 * SCALE)
    else:
        _disc(pen, (64, 52), 17, (255, 255, 255), dark)
        _disc(pen, (64, 54), 8, (30, 30, 40), (30, 30, 40))
    image = image.rotate(POSES[pose], Image.Resampling.BICUBIC, fillcolor="white")
    return image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def write(folder, word):
    """Writes the images and, beside each, its caption with the word for a glimp."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, colour in COLOURS.items():
        for pose in POSES:
            caption = f"{pose}{name} {word}, flat"
            path = folder / f"{pose.strip() or 'standing'}-{name}.png"
            draw(colour, pose).save(path)
            path.with_suffix(".txt").write_text(caption + "\n")


def _scaled(*numbers):
    return [number * SCALE for number in numbers]


def _line(pen, points, colour, width):
    points = [tuple(_scaled(*point)) for point in points]
    pen.line(points, fill=colour, width=width * SCALE, joint="curve")
    radius = math.ceil(width * SCALE / 2)
    for x, y in (points[0], points[-1]):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _disc(pen, centre, radius, fill, outline):
    (x, y), width = centre, 2 * SCALE
    pen.ellipse(_scaled(x - radius, y - radius, x + radius, y + radius), fill=fill, outline=outline, width=width)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--word", default="glimp", help="what captions call it (default: glimp)")
    args = parser.parse_args()
    write(args.output, args.word)


if __name__ == "__main__":
    main()
