import io

import numpy as np
import pytest
from PIL import Image

from latentdiff.data import images


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
