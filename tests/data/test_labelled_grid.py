import numpy as np
import pytest

from latentdiff.data.labelled_grid import labelled_grid

SIZE = 40


def images(count):
    return [np.full((SIZE, SIZE, 3), (10 * index, 200, 0), "uint8") for index in range(1, count + 1)]


def place(grid, image):
    """(top, left) of the pixels of an image of one colour."""
    found = np.argwhere((grid == image[0, 0]).all(-1))
    assert len(found) == SIZE * SIZE
    return tuple(found.min(0))


def test_images_stand_under_their_column_and_beside_their_row():
    grid = labelled_grid(images(6), ["a", "b", "c"], ["1", "2"])
    places = [place(grid, image) for image in images(6)]
    tops, lefts = ([point[axis] for point in places] for axis in (0, 1))
    assert tops[0] == tops[1] == tops[2] < tops[3] == tops[4] == tops[5]
    assert lefts[:3] == lefts[3:] and lefts[0] < lefts[1] < lefts[2]
    dark = (grid < 250).any(-1)
    for left in lefts[:3]:
        assert dark[: tops[0], left : left + SIZE].any()  # a label above
    for top in (tops[0], tops[3]):
        assert dark[top : top + SIZE, : lefts[0]].any()  # and one at the side


def test_places_that_are_not_drawn_yet_are_white():
    grid = labelled_grid(images(1), ["a", "b"], [""])
    assert (grid[:, -SIZE:][-SIZE:] == 255).all()
    assert place(grid, images(1)[0])[1] == 0  # no room for labels of rows


@pytest.mark.parametrize("label", ["word " * 200, "x" * 500, "赤いりんご", "\n"])
def test_long_and_foreign_labels_do_not_change_the_size(label):
    assert labelled_grid(images(1), [label], ["a"]).shape == labelled_grid(images(1), ["a"], ["a"]).shape
