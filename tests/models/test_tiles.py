import numpy as np
import pytest
from harness import arrays, normal

from latentdiff.models.tiles import Tiles, in_tiles


@pytest.mark.parametrize("size", [(8, 8), (9, 20), (31, 5), (64, 17), (8, 9)])
@pytest.mark.parametrize("scale", [1, 3])
def test_joined_again_it_is_what_was_cut(size, scale):
    """Wherever tiles overlap, their weights sum to one."""
    values, tiles = normal(0, 2, *(scale * side for side in size), 3), Tiles(size, 8)
    parts = tiles.split(values, scale)
    assert {part.shape[1:3] for part in parts} == {tuple(scale * min(8, side) for side in size)}
    np.testing.assert_allclose(arrays(tiles.join(parts, scale)), values, atol=1e-6)


@pytest.mark.parametrize("length", range(9, 60))
def test_tiles_overlap_and_reach_both_ends(length):
    (starts, _) = Tiles((length, 8), 8).starts
    assert starts[0] == 0 and starts[-1] + 8 == length
    assert all(0 < second - first <= 6 for first, second in zip(starts, starts[1:], strict=False))


def test_one_fades_into_the_other():
    """Between a tile of zeros and one of ones the values rise steadily, and nowhere else."""
    tiles = Tiles((1, 14), 8)
    assert tiles.starts[1] == [0, 6]
    joined = arrays(tiles.join([np.zeros((1, 1, 8, 1), "float32"), np.ones((1, 1, 8, 1), "float32")]))[0, 0, :, 0]
    np.testing.assert_allclose(joined, [0.0] * 6 + [1 / 3, 2 / 3] + [1.0] * 6, atol=1e-6)


def test_a_function_of_neighbours_differs_at_the_seams_alone():
    """A mean of three columns sees zeros at the edge of a tile, where the other tile counts more."""

    def blur(values):
        padded = np.pad(values, [(0, 0), (0, 0), (1, 1), (0, 0)])
        return (padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]) / 3.0

    values = normal(0, 1, 4, 40, 2)
    received, expected = arrays(in_tiles(blur, 16)(values)), blur(values)
    wrong = np.abs(received - expected).max(axis=(0, 1, 3)) > 1e-6
    starts = Tiles((4, 40), 16).starts[1]
    edges = {edge for start in starts for edge in (start, start + 15)} - {0, 39}
    assert set(np.flatnonzero(wrong)) == edges


def test_a_map_in_one_tile_is_taken_whole():
    seen = []
    in_tiles(lambda values: seen.append(values.shape) or values, 8)(normal(0, 1, 8, 6, 2))
    assert seen == [(1, 8, 6, 2)]


def test_each_tile_has_the_size_that_bounds_the_memory():
    seen = []

    def double(values):
        seen.append(values.shape)
        return np.repeat(np.repeat(values, 2, axis=1), 2, axis=2)

    values = normal(0, 1, 20, 9, 2)
    received = arrays(in_tiles(double, 8, after=2)(values))
    np.testing.assert_allclose(received, np.repeat(np.repeat(values, 2, axis=1), 2, axis=2), atol=1e-6)
    assert set(seen) == {(1, 8, 8, 2)} and len(seen) == 6
