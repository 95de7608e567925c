"""Image files: reading to uint8 pixels, grids, PNG files with settings in them, animations."""

import dataclasses
import io
import json
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageOps, PngImagePlugin, UnidentifiedImageError

from latentdiff.whole_files import replaced, write_bytes

CROPS = ("centre", "random")
# What Pillow raises on damaged files.
DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
DECODE_ERRORS += (ArithmeticError, AttributeError, LookupError, TypeError, MemoryError)


@dataclasses.dataclass(frozen=True)
class ImageForm:
    """How image files become arrays: a function from a `Row` to uint8 (height, width, 3).

    Args:
        image_size: int, or (height, width), in pixels.
        background: colour behind what is transparent, such as "white" or "#ffcc00".
        crop: "centre", or "random", which takes another part of an image that has other proportions each time.

    Call arguments:
        row: `Row` of an image that is not decoded yet.
        rng: `numpy.random.Generator` of random crops; without one they are taken from the centre.

    Raises:
        ValueError: an unknown colour or kind of crop; an image that can't be decoded.
    """

    image_size: int | tuple
    background: str = "white"
    crop: str = "centre"

    def __post_init__(self):
        object.__setattr__(self, "image_size", both_sides(self.image_size))
        if self.crop not in CROPS:
            raise ValueError(f"`crop` must be one of {CROPS}. Received: crop={self.crop!r}")
        try:
            ImageColor.getrgb(self.background)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"`background` must be a colour such as 'white' or '#ffcc00'. Received: background={self.background!r}"
            ) from error

    def __call__(self, row, rng=None):
        image = read_image(row.image, row.name, self.background)
        return crop(image, self.image_size, rng if self.crop == "random" else None)


def read_image(file, name=None, background="white"):
    """Decodes an image file from outside, see `to_rgb`: the one place of the package that opens them.

    Args:
        file: path, bytes, or a binary file.
        name: what to call it in messages; default: the path.
        background: colour behind what is transparent.

    Returns:
        Pillow image of mode RGB.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no image, a damaged one (pixels or EXIF data), or one with too many pixels; names it.
    """
    name = name or (file if isinstance(file, str | Path) else "image")
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            return to_rgb(image, background)
    except FileNotFoundError:
        raise
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} is no image, or of an unknown format") from error
    except DECODE_ERRORS as error:
        raise ValueError(f"{name} can't be decoded ({error})") from error


def both_sides(image_size):
    """(height, width) of an image size, which may be one int for both; ValueError unless both are whole and above 0."""
    sides = tuple(image_size) if isinstance(image_size, tuple | list) else (image_size, image_size)
    whole = [isinstance(side, int | np.integer) and not isinstance(side, bool) for side in sides]
    if len(sides) != 2 or not all(whole) or min(sides) < 1:
        raise ValueError(
            f"`image_size` must be a positive integer, or (height, width). Received: image_size={image_size!r}"
        )
    return int(sides[0]), int(sides[1])


def crop(image, image_size, rng=None):
    """Crops the centre, or a random part, of a Pillow image to the proportions of `image_size` and resizes it.

    Means of blocks if the size is a multiple of the other, else Lanczos.

    Args:
        image: Pillow image of mode RGB.
        image_size: (height, width), or one int for both.
        rng: optional `numpy.random.Generator` that draws the place; None takes the centre.

    Returns:
        uint8 array (height, width, 3).
    """
    height, width = both_sides(image_size)
    scale = min(image.width / width, image.height / height)
    side = round(scale * width), round(scale * height)
    room = image.width - side[0], image.height - side[1]
    left, top = (space // 2 if rng is None else int(rng.integers(space + 1)) for space in room)
    image = image.crop((left, top, left + side[0], top + side[1]))
    if side[0] % width == 0 and side[1] == height * (side[0] // width):
        return np.asarray(image.reduce(side[0] // width))
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def to_rgb(image, background="white"):
    """Any Pillow image upright by its EXIF orientation, on a colour where transparent, with 8-bit red, green and blue.

    CMYK images are converted by their colour profile, if they have one.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == "CMYK" and image.info.get("icc_profile"):
        image = _from_cmyk(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 257).astype("uint8"))
    if image.mode in ("I", "F"):
        raise ValueError(f"`image` must have 8 or 16 bits a channel. Received: image of mode {image.mode!r}")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image)
    return image.convert("RGB")


def _from_cmyk(image):
    """A CMYK image in sRGB, by its own profile."""
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        raise ValueError(f"colour profile: {error}") from error


def load_picture(path, image_size):
    """Reads an image file as a uint8 array (height, width, 3).

    Args:
        path: file name.
        image_size: (height, width), or one int for both; an image of another size is resized, see `to_rgb` for what
            else is done.

    Raises:
        ValueError: the image has other proportions (by half a pixel of the result or more).
    """
    return np.asarray(_resize(path, read_image(path), image_size, Image.Resampling.LANCZOS))


def load_mask(path, image_size):
    """Reads an image file as a mask, True where it is white or transparent: bool array (height, width).

    Args, errors: those of `load_picture`. In a resized mask a pixel is True if it covers anything white.
    """
    mask = (np.asarray(read_image(path)).mean(axis=-1) >= 128).astype("float32")
    return np.asarray(_resize(path, Image.fromarray(mask), image_size, Image.Resampling.BOX)) > 0.0


def _resize(path, image, image_size, resampling):
    height, width = both_sides(image_size)
    if abs(image.width * height / image.height - width) >= 0.5:
        raise ValueError(
            f"`path` must be an image with the proportions of {width} x {height} pixels: crop it first. "
            f"Received: path={str(path)!r} of {image.width} x {image.height} pixels"
        )
    return image.resize((width, height), resampling)


def image_grid(images, columns=None, padding=2):
    """Arranges images of equal size in rows on white.

    Args:
        images: uint8 array (batch, height, width, 3).
        columns: images per row; default: the side of the smallest square that holds them all.
        padding: white pixels between images.

    Returns:
        uint8 array (grid height, grid width, 3).
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 3 or not len(images):
        raise ValueError(
            f"`images` must have shape (batch >= 1, height, width, 3). Received: images.shape={images.shape}"
        )
    count, height, width, _ = images.shape
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    grid = np.full((rows * (height + padding) - padding, columns * (width + padding) - padding, 3), 255, "uint8")
    for index, image in enumerate(images):
        y, x = (index // columns) * (height + padding), (index % columns) * (width + padding)
        grid[y : y + height, x : x + width] = image
    return grid


def encode_png(image, settings=None):
    """PNG bytes of one image; `settings` go into its text chunks.

    Args:
        image: uint8 array (height, width, 3).
        settings: optional dict of names to texts, or to values that JSON can hold; `read_settings` gives texts back.
    """
    text = PngImagePlugin.PngInfo()
    for name, value in (settings or {}).items():
        text.add_itxt(name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def save_png(path, image, settings=None):
    """Writes one uint8 image (height, width, 3) as PNG with its settings as text, making the folder if needed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, encode_png(image, settings))


def read_settings(path):
    """The settings that `save_png` wrote into a PNG, as a dict of strings.

    Raises:
        ValueError: no PNG, or a damaged one.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return dict(image.text)
    except FileNotFoundError:
        raise
    except DECODE_ERRORS as error:
        raise ValueError(f"{path} is no PNG that can be read ({error})") from error


def save_animation(path, frames, milliseconds=80, hold=1500):
    """Writes uint8 frames (frames, height, width, 3) as an endlessly repeated GIF that holds its last frame.

    Args:
        path: file name; must end in `.gif`.
        frames: uint8 array or list of arrays (height, width, 3).
        milliseconds: how long a frame is shown.
        hold: how long the last frame is shown, milliseconds.
    """
    if Path(path).suffix.lower() != ".gif":
        raise ValueError(f"`path` must end in '.gif'. Received: path={str(path)!r}")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # One palette for all frames, taken from the last, which is the image: the colours do not flicker.
    palette = Image.fromarray(np.asarray(frames[-1])).quantize(255, method=Image.Quantize.MEDIANCUT)
    pictures = [Image.fromarray(np.asarray(frame)).quantize(palette=palette) for frame in frames]
    durations = [milliseconds] * (len(pictures) - 1) + [hold]
    with replaced(path) as draft:
        pictures[0].save(draft, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
