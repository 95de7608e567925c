import io
import struct

import numpy as np
import pytest
from PIL import Image

from latentdiff.data import images
from latentdiff.data.rows import Row


def picture(seed=0, height=6, width=5):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype="uint8")


# === Grids ===


@pytest.mark.parametrize(
    "count, columns, shape", [(1, None, (1, 1)), (5, None, (2, 3)), (4, 4, (1, 4)), (3, 9, (1, 3))]
)
def test_grid(count, columns, shape):
    pictures = np.stack([picture(seed) for seed in range(count)])
    grid = images.image_grid(pictures, columns, padding=2)
    assert grid.shape == (shape[0] * 8 - 2, shape[1] * 7 - 2, 3)
    for index, one in enumerate(pictures):
        y, x = index // shape[1] * 8, index % shape[1] * 7
        np.testing.assert_array_equal(grid[y : y + 6, x : x + 5], one)
    if shape[1] > 1:
        assert (grid[:, 5:7] == 255).all()


@pytest.mark.parametrize("shape", [(6, 5, 3), (2, 6, 5), (2, 6, 5, 4), (0, 6, 5, 3)])
def test_wrong_grid(shape):
    with pytest.raises(ValueError, match="`images` must have shape.*Received: images.shape="):
        images.image_grid(np.zeros(shape, "uint8"))


# === PNG ===


def test_png_keeps_pixels_and_settings(tmp_path):
    settings = {"prompt": 'a café ☕, "quoted"\nand a second line', "seed": 7, "guidance_scale": 4.5}
    path = tmp_path / "new" / "folder" / "a.png"
    images.save_png(path, picture(), settings)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), picture())
    assert images.read_settings(path) == {name: str(value) for name, value in settings.items()}


def test_png_is_the_same_bytes_each_time():
    assert images.encode_png(picture(), {"seed": 1}) == images.encode_png(picture(), {"seed": 1})
    assert images.encode_png(picture()) != images.encode_png(picture(1))
    assert not Image.open(io.BytesIO(images.encode_png(picture()))).text


# === GIF ===


def test_animation(tmp_path):
    frames = [np.full((8, 8, 3), level, "uint8") for level in (0, 100, 250)]
    frames[-1][:4] = (250, 0, 0)
    frames[1][:4] = (200, 0, 0)
    path = tmp_path / "new" / "a.gif"
    images.save_animation(path, frames, milliseconds=80, hold=1500)
    with Image.open(path) as animation:
        assert (animation.n_frames, animation.info["loop"]) == (3, 0)
        durations = []
        for index in range(3):
            animation.seek(index)
            durations.append(animation.info["duration"])
        np.testing.assert_allclose(np.asarray(animation.convert("RGB")), frames[-1], atol=8)
    assert durations == [80, 80, 1500]


def test_animation_must_be_a_gif(tmp_path):
    with pytest.raises(ValueError, match=r"`path` must end in '.gif'. Received: path='.*a.mp4'"):
        images.save_animation(tmp_path / "a.mp4", [picture()])


# === Forms ===


def read(image, kind="PNG", rng=None, **form):
    """The pixels of an image that is written to a file and read in a form."""
    options = form.pop("options", {})
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    row = Row("a.png", buffer.getvalue(), "a", {})
    return images.ImageForm(**{"image_size": (image.height, image.width), **form})(row, rng)


@pytest.mark.parametrize(
    "background, colour", [("white", (255, 255, 255)), ("#ffcc00", (255, 204, 0)), ("red", (255, 0, 0))]
)
def test_what_is_transparent_gets_the_background(background, colour):
    pixels = np.zeros((2, 2, 4), "uint8")
    pixels[0, 0, 3], pixels[0, 1, 3] = 255, 51
    made = read(Image.fromarray(pixels), background=background)
    np.testing.assert_array_equal(made[1], [colour] * 2)
    assert made[0, 0].tolist() == [0, 0, 0]
    np.testing.assert_allclose(made[0, 1], 0.8 * np.array(colour), atol=1)
    grey = Image.fromarray(np.zeros((2, 2, 2), "uint8"), "LA")
    assert (read(grey, background=background) == colour).all()


def test_16_bits_become_8():
    deep = np.arange(0, 65536, 257, "uint16").reshape(16, 16)
    made = read(Image.fromarray(deep))
    np.testing.assert_array_equal(made, np.arange(256).reshape(16, 16, 1).repeat(3, axis=2))
    np.testing.assert_array_equal(read(Image.fromarray(deep), "TIFF"), made)


@pytest.mark.parametrize("size", [(4, 12), (12, 4)])
def test_random_crops_are_parts_of_the_image(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), "uint8")
    long = int(np.argmax(size))
    parts = {np.take(pixels, range(start, start + 4), long).tobytes() for start in range(9)}
    rng = np.random.default_rng(1)
    seen = [read(Image.fromarray(pixels), rng=rng, image_size=4, crop="random") for _ in range(100)]
    assert {part.tobytes() for part in seen} == parts
    centre = np.take(pixels, range(4, 8), long)
    for crop, draws in (("random", None), ("centre", rng)):
        np.testing.assert_array_equal(read(Image.fromarray(pixels), rng=draws, image_size=4, crop=crop), centre)


@pytest.mark.parametrize("argument", [{"background": "sky"}, {"background": 3}, {"crop": "left"}, {"image_size": 0}])
def test_bad_forms(argument):
    (name,) = argument
    with pytest.raises(ValueError, match=f"`{name}` must be .*Received: {name}="):
        images.ImageForm(**{"image_size": 8, **argument})


def cmyk_profile(lab):
    """An ICC profile (version 2.4, lut8) that maps the 16 corners of CMYK to CIE Lab, a list of (L, a, b)."""
    corners = bytes(round(value) for light, a, b in lab for value in (2.55 * light, a + 128, b + 128))
    ramp, one = bytes(range(256)), 65536
    matrix = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, one)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + corners + ramp * 3
    body = struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table
    header = struct.pack(">I4sI", 128 + len(body), bytes(4), 0x02400000) + b"prtrCMYKLab " + bytes(12) + b"acsp"
    illuminant = struct.pack(">3i", round(0.9642 * one), one, round(0.8249 * one))
    return (header + bytes(28) + illuminant).ljust(128, b"\0") + body


def srgb(light, a, b):
    """CIE Lab (D50) to sRGB in [0, 255], by the formulas of CIE 15 and IEC 61966-2-1."""
    y = (light + 16) / 116
    sides = np.array([y + a / 500, y, y - b / 200])
    xyz = np.where(sides > 6 / 29, sides**3, (sides - 4 / 29) * 3 * (6 / 29) ** 2) * (0.9642, 1.0, 0.8249)
    matrix = [[3.1339, -1.6169, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]]
    linear = np.clip(matrix @ xyz, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_cmyk_is_converted_by_its_profile():
    middle = [(95 - 5 * corner, 3 * corner - 20, 20 - 2 * corner) for corner in range(1, 15)]
    lab = [(100, 0, 0), *middle, (0, 0, 0)]
    profile = cmyk_profile(lab)
    for corner, colour in enumerate(lab):  # cyan changes slowest
        inks = tuple(255 * (corner >> bit & 1) for bit in (3, 2, 1, 0))
        made = read(Image.new("CMYK", (4, 4), inks), "TIFF", options={"icc_profile": profile})
        np.testing.assert_allclose(made[0, 0], srgb(*colour), atol=4)
    plain = read(Image.new("CMYK", (4, 4), (255, 0, 0, 0)), "TIFF")
    assert plain[0, 0].tolist() == [0, 255, 255]


def test_a_broken_profile_is_named():
    with pytest.raises(ValueError, match="a.png can't be decoded .colour profile"):
        read(Image.new("CMYK", (4, 4)), "TIFF", options={"icc_profile": b"no profile"})
