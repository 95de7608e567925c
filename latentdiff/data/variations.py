"""Variations of captioned images that say in words what was done, so that a model learns the words from them.

A variation is a function `(image, record, partner, rng) -> (image, record)`: from an image, uint8 (size, size, 3) on
white, and its record it makes another one, whose `label`, `style` and `keywords` fit again. `partner` is the image and
record of another image of the same style, or None where there is none. A variation that does not suit the image
gives None.

What is told is never mixed up with the plain images (the idea of Karras et al., arXiv:2206.00364, appendix F.2, in
words), and a small set of images lasts longer. Colours, styles and pairs also show that words can be combined freely.
"""

import collections
import dataclasses
import re

import numpy as np
from PIL import Image, ImageFilter, ImageOps

# Hue in degrees, and factors of saturation and value.
COLOURS = {
    "red": (0, 1.0, 1.0),
    "orange": (28, 1.0, 1.0),
    "yellow": (52, 1.0, 1.0),
    "green": (122, 1.0, 0.85),
    "blue": (214, 1.0, 1.0),
    "purple": (276, 0.9, 0.85),
    "pink": (335, 0.6, 1.05),
    "brown": (22, 0.8, 0.6),
    "golden": (44, 1.0, 0.95),
    "black": (0, 0.1, 0.3),
    "grey": (0, 0.05, 0.85),
}
COLOUR_WORDS = {*COLOURS, "white", "gray", "gold", "rainbow"}
NEAR_HUE = 40  # degrees from the main hue that change with it: the leaf of a red apple stays green
WHITE = 250

# Styles that any finished image can be turned into.
STYLES = {
    "greyscale": lambda image: image.convert("L"),
    "sepia": lambda image: ImageOps.colorize(image.convert("L"), (60, 30, 0), (255, 240, 215)),
    "blueprint": lambda image: ImageOps.colorize(image.convert("L"), (235, 245, 255), (25, 70, 150)),
    "negative": ImageOps.invert,
    "contour": lambda image: image.filter(ImageFilter.GaussianBlur(image.width / 128)).filter(ImageFilter.CONTOUR),
    "pixelated": lambda image: image.reduce(image.width // 16).resize(image.size, Image.Resampling.NEAREST),
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where two images a and b stand on a square of side 1: scale, centre right, centre down; b lies above a.

    `words` are ways to say it.
    """

    a: tuple[float, float, float]
    b: tuple[float, float, float]
    words: tuple[str, ...]


LAYOUTS = (
    Layout((0.56, 0.28, 0.5), (0.56, 0.72, 0.5), ("{a} and {b}", "{a} beside {b}", "{a} with {b}")),
    Layout((0.85, 0.43, 0.45), (0.5, 0.74, 0.73), ("{a} with {b}", "{a} holding {b}", "{a} carrying {b}")),
    Layout((0.72, 0.5, 0.63), (0.52, 0.5, 0.26), ("{b} on {a}", "{a} wearing {b}", "{a} under {b}", "{b} riding {a}")),
    Layout((0.95, 0.5, 0.5), (0.45, 0.5, 0.55), ("{b} in {a}", "{a} with {b} inside", "{b} in front of {a}")),
)


def vary(pictures, variations, seed=0, kept_out=()):
    """All variations of each image, the image itself first.

    An image that a variation does not suit takes its own place. Records without a text under `label` get the caption
    as one, and keep to captions of the kind "label, style", or "label" where there is no style.

    Args:
        images: `latentdiff.data.captioned_images.CaptionedImages`.
        variations: functions as described above.
        seed: int; what is drawn for an image depends on it and on the image's row.
        kept_out: tuples of things. A variation whose label names all things of a tuple, in the singular or plural, is
            left out, so that they can be asked for to see what a model makes of things that it never saw together.

    Returns:
        function from a row to a list of images, uint8 (size, size, 3), and a list of as many records, which hold the
        `caption` too.
    """
    rows_of_style = collections.defaultdict(list)
    for row, record in enumerate(pictures.records):
        rows_of_style[record.get("style")].append(row)

    def variations_of(row):
        plain = labelled(pictures, row)
        varied = [(plain[0], {**plain[1], "caption": pictures.captions[row]})]
        for index, variation in enumerate(variations):
            rng = np.random.default_rng((seed, row, index))
            other = other_row(row, rows_of_style[plain[1].get("style")], rng)
            partner = None if other is None else labelled(pictures, other)
            image, record = variation(*plain, partner, rng) or plain
            if any(all(names(record["label"], thing) for thing in things) for things in kept_out):
                image, record = plain
            caption = ", ".join(str(part) for part in (record["label"], record.get("style")) if part)
            varied.append((image, {**record, "caption": caption}) if record is not plain[1] else varied[0])
        images, records = zip(*varied, strict=True)
        return images, records

    return variations_of


def labelled(pictures, row):
    """The image of a row, and its record with a text under `label`."""
    record, caption = pictures.records[row], pictures.captions[row]
    label = record.get("label")
    if not (isinstance(label, str) and label.strip()):  # none, or the number of a class
        label = caption.removesuffix(f", {record.get('style')}")
    return pictures.images[row], {**record, "label": label}


def other_row(row, rows, rng):
    """One of `rows` at random that is not `row`, one of them too; None if there is no other."""
    other = int(rng.choice(rows))
    if other == row:  # the next one; another draw would change what is drawn after it
        other = rows[(rows.index(row) + 1) % len(rows)]
    return None if other == row else other


def mirrored(image, record, partner, rng):
    """The mirror image."""
    return image[:, ::-1], prefixed(record, "mirrored")


def recoloured(image, record, partner, rng):
    """The main colour of the image turned into one of `COLOURS`; None for images without a main colour."""
    hue, saturation, value = np.moveaxis(np.asarray(Image.fromarray(image).convert("HSV"), "float32"), -1, 0)
    hue = hue * (360 / 256)
    weights = saturation * value
    if weights.mean() < 0.08 * 255**2:
        return None
    angles = np.deg2rad(hue)
    main = np.rad2deg(np.arctan2((weights * np.sin(angles)).sum(), (weights * np.cos(angles)).sum()))
    near = np.abs((hue - main + 180) % 360 - 180) < NEAR_HUE
    if (weights * near).sum() < 0.6 * weights.sum():
        return None
    name = str(rng.choice(list(COLOURS)))
    target, saturation_factor, value_factor = COLOURS[name]
    tinted = np.minimum(saturation / 64, 1.0)  # white and grey stay, but for what shades into the colour
    factors = [1 + (factor - 1) * tinted for factor in (saturation_factor, value_factor)]
    changed = [(hue + target - main) % 360 * (256 / 360), saturation * factors[0], value * factors[1]]
    old = (hue * (256 / 360), saturation, value)
    channels = [np.where(near, after, before) for after, before in zip(changed, old, strict=True)]
    hsv = np.stack([channels[0] % 256, *np.minimum(channels[1:], 255)], axis=-1).astype("uint8")
    keywords = filter(None, map(without_colours, record.get("keywords") or ()))
    plain = {**record, "label": without_colours(record["label"]) or record["label"], "keywords": list(keywords)}
    return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB")), prefixed(plain, name)


def restyled(image, record, partner, rng):
    """The image in one of `STYLES`, "flat" becomes "sepia flat"; None for images without a style."""
    if not record.get("style"):
        return None
    name = str(rng.choice(list(STYLES)))
    changed = STYLES[name](Image.fromarray(image)).convert("RGB")
    return np.asarray(changed), {**record, "style": f"{name} {record['style']}"}


def paired(image, record, partner, rng):
    """The image and its partner in one, in one of `LAYOUTS`; None without a partner."""
    if partner is None:
        return None
    layout = LAYOUTS[rng.integers(len(LAYOUTS))]
    canvas = Image.new("RGB", (image.shape[1], image.shape[0]), "white")
    for picture, place in ((image, layout.a), (partner[0], layout.b)):
        paste(canvas, picture, *place)
    words = str(rng.choice(layout.words))
    label = words.format(a=record["label"], b=with_article(partner[1]["label"]))
    if words.startswith("{b}"):
        label = words.format(a=with_article(record["label"]), b=partner[1]["label"])
    return np.asarray(canvas), {**record, "label": label, "keywords": []}


def paste(canvas, picture, scale, right, down):
    """Puts the thing of an image, without the white around it, onto a square image."""
    side = round(scale * canvas.width)
    thing = Image.fromarray(picture).resize((side, side), Image.Resampling.BOX)
    mask = Image.fromarray((~around(picture)).astype("uint8") * 255).resize((side, side), Image.Resampling.BOX)
    corner = [round(centre * canvas.width - side / 2) for centre in (right, down)]
    canvas.paste(thing, corner, mask)


def around(picture):
    """Where an image, uint8 (h, w, 3), is white all the way to one of its sides: bool (h, w)."""
    white = (picture >= WHITE).all(axis=-1)
    seen = [np.logical_and.accumulate(white, axis) for axis in (0, 1)]
    seen += [np.flip(np.logical_and.accumulate(np.flip(white, axis), axis), axis) for axis in (0, 1)]
    return np.logical_or.reduce(seen)


def names(label, thing):
    """Whether a label has the words of a thing: "red hats" has those of "hat", "hatching chick" has not."""
    return re.search(rf"\b{re.escape(thing)}(e?s)?\b", label, re.IGNORECASE) is not None


def without_colours(text):
    """ "red apple" -> "apple"; "red" -> ""."""
    return " ".join(word for word in text.split() if word.lower() not in COLOUR_WORDS)


def prefixed(record, word):
    """The record with a word before its label and each of its keywords."""
    keywords = [f"{word} {keyword}" for keyword in record.get("keywords") or ()]
    return {**record, "label": f"{word} {record['label']}", "keywords": keywords}


def with_article(label):
    """ "apple" -> "an apple", "unicorn" -> "a unicorn"."""
    sound = label.lower()
    vowel = sound.startswith(tuple("aeiou8")) and not sound.startswith(("uni", "eu", "one"))
    return f"{'an' if vowel else 'a'} {label}"
