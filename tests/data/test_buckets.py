import math

import numpy as np
import pytest
from PIL import Image

from latentdiff.data.batches import Batches
from latentdiff.data.buckets import BucketBatches, bucket_sizes, load_buckets, nearest_size

# === Sizes ===


@pytest.mark.parametrize(("side", "step"), [(128, 16), (512, 64), (1024, 64), (8, 2)])
def test_sizes_have_about_one_area_and_no_side_twice(side, step):
    sizes = bucket_sizes(side, step)
    assert {(width, height) for height, width in sizes} == set(sizes)
    assert (side // step * step,) * 2 in sizes
    for sides in zip(*sizes, strict=True):
        assert len(set(sides)) == len(sizes) and not any(value % step for value in sides)
    for height, width in sizes:
        assert abs(height * width - side**2) <= max(height, width) * step
        assert max(height, width) <= 2 * min(height, width) + step


def test_sizes_of_stable_diffusion():
    """The square and the two sizes beside it that the literature names for 512 pixels and steps of 64."""
    assert {(512, 512), (448, 576), (384, 704), (576, 448)} <= set(bucket_sizes(512, 64))


def test_the_nearest_in_proportions_is_taken():
    sizes = [(4, 8), (6, 6), (8, 4)]
    assert nearest_size(100, 200, sizes) == (4, 8) and nearest_size(99, 100, sizes) == (6, 6)
    border = math.sqrt(2.0)
    assert nearest_size(1000, 1000 * border - 5, sizes) == (6, 6)
    assert nearest_size(1000, 1000 * border + 5, sizes) == (4, 8)


def test_a_step_must_fit():
    with pytest.raises(ValueError, match="`step` must be from 1 to 16. Received: step=17"):
        bucket_sizes(16, 17)


# === Reading ===


@pytest.fixture
def folder(tmp_path):
    """Images of four proportions, each of one colour, with their size as caption."""
    for index, (height, width) in enumerate([(40, 40), (40, 80), (80, 40), (20, 39), (10, 500)]):
        Image.fromarray(np.full((height, width, 3), 50 * index, "uint8")).save(tmp_path / f"{index}.png")
        (tmp_path / f"{index}.txt").write_text(f"{height} {width}")
    return tmp_path


def test_images_keep_their_proportions(folder):
    buckets = load_buckets(folder, 8, 2)
    assert {size: pictures.captions for size, pictures in buckets.items()} == {
        (6, 10): ["40 80", "20 39", "10 500"],
        (8, 8): ["40 40"],
        (10, 6): ["80 40"],
    }
    for size, pictures in buckets.items():
        assert pictures.images.shape[1:] == (*size, 3)
        for image, caption in zip(pictures.images, pictures.captions, strict=True):
            height, width = map(int, caption.split())
            assert nearest_size(height, width, bucket_sizes(8, 2)) == size
            assert len(np.unique(image)) == 1


def test_corrupt_images_are_named(folder):
    (folder / "1.png").write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match=r"1\.png"):
        load_buckets(folder, 8, 2)
    with pytest.warns(UserWarning, match=r"Left out 1 corrupt of 5 images: .*1\.png"):
        buckets = load_buckets(folder, 8, 2, skip_corrupt=True)
    assert sum(map(len, buckets.values())) == 4


# === Batches ===


def parts():
    shapes = {(4, 8): 5, (6, 6): 9, (8, 4): 2}
    arrays = [np.full((count, *shape), index) for index, (shape, count) in enumerate(shapes.items())]
    return [Batches({"x": array, "row": np.arange(len(array))}, 2, seed=1) for array in arrays]


def test_a_batch_has_one_shape_and_all_rows_come_once():
    batches = BucketBatches(parts())
    seen = [batches[index] for index in range(len(batches))]
    assert len(batches) == 2 + 4 + 1
    for batch in seen:
        assert len(np.unique(batch["x"])) == 1
    rows = [(int(batch["x"].flat[0]), int(row)) for batch in seen for row in batch["row"]]
    assert len(set(rows)) == len(rows) == 14


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        batches = BucketBatches(parts(), seed)
        batches.set_epoch(epoch)
        return [(batches[i]["x"].shape, batches[i]["row"].tolist()) for i in range(len(batches))]

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4) and order(0, 3) != order(1, 3)


def test_the_first_two_batches_differ_in_both_sides():
    for epoch in range(20):
        batches = BucketBatches(parts())
        batches.set_epoch(epoch)
        first, second = (batches[index]["x"].shape[1:] for index in range(2))
        assert first[0] != second[0] and first[1] != second[1]
