"""Variations of images, and that images and words still fit."""

import colorsys

import numpy as np
import pytest

from latentdiff.data.captioned_images import CaptionedImages
from latentdiff.data.variations import around, mirrored, names, paired, recoloured, restyled, vary, with_article

SIZE = 64
RED, GREEN, BLUE = (220, 20, 20), (30, 160, 40), (20, 40, 220)
# Hue in degrees; None is a colour without one.
HUES = dict(red=0, orange=30, yellow=54, green=120, blue=215, purple=275, pink=335, brown=22, golden=45)
HUES |= dict(black=None, grey=None)
# What may be said of an apple (a) and an owl (b) in each layout, and the centres of a and b.
SAID = {
    ((0.28, 0.5), (0.72, 0.5)): {"apple and an owl", "apple beside an owl", "apple with an owl"},
    ((0.43, 0.45), (0.74, 0.73)): {"apple with an owl", "apple holding an owl", "apple carrying an owl"},
    ((0.5, 0.63), (0.5, 0.26)): {
        "owl on an apple",
        "apple wearing an owl",
        "apple under an owl",
        "owl riding an apple",
    },
    ((0.5, 0.5), (0.5, 0.55)): {"owl in an apple", "apple with an owl inside", "owl in front of an apple"},
}


def white(size=SIZE):
    return np.full((size, size, 3), 255, "uint8")


def inside(radius, right=0.5, down=0.5, size=SIZE):
    """Mask of a disc; all lengths are in sides of the square."""
    centres = (np.arange(size) + 0.5) / size
    return (centres[None] - right) ** 2 + (centres[:, None] - down) ** 2 < radius**2


def disc(colour, radius=0.3, size=SIZE):
    image = white(size)
    image[inside(radius, size=size)] = colour
    return image


def rng(seed=0):
    return np.random.default_rng(seed)


def where(image, colour):
    return (np.abs(image.astype(int) - colour) < 30).all(axis=-1)


def centre(mask):
    down, right = np.nonzero(mask)
    return (right.mean() + 0.5) / SIZE, (down.mean() + 0.5) / SIZE


def apple(**columns):
    return {"label": "red apple", "keywords": ["fruit", "ripe food"], "style": "flat", **columns}


# Mirrored


def test_mirrored_is_the_mirror_image_and_says_so():
    image = rng().integers(256, size=(8, 8, 3), dtype="uint8")
    other, record = mirrored(image, apple(), None, rng())
    for column in range(8):
        np.testing.assert_array_equal(other[:, column], image[:, 7 - column])
    assert record == apple(label="mirrored red apple", keywords=["mirrored fruit", "mirrored ripe food"])


# Recoloured


@pytest.mark.parametrize("colour", [RED, BLUE])
def test_recoloured_turns_the_main_colour_into_the_named_one_and_leaves_the_rest(colour):
    image, leaf = disc(colour), inside(0.08, 0.5, 0.12)
    image[leaf] = GREEN
    seen = set()
    for seed in range(100):
        changed, record = recoloured(image, apple(), None, rng(seed))
        name, *rest = record["label"].split()
        assert rest == ["apple"] and record["keywords"] == [f"{name} fruit", f"{name} ripe food"]
        hue, saturation, value = colorsys.rgb_to_hsv(*(changed[SIZE // 2, SIZE // 2] / 255))
        if HUES[name] is None:
            assert saturation < 0.15 and (value < 0.4 if name == "black" else value > 0.6)
        else:
            assert saturation > 0.4 and abs((hue * 360 - HUES[name] + 180) % 360 - 180) < 12
            assert (value < 0.6) == (name == "brown")
        np.testing.assert_allclose(changed[leaf].astype(int), image[leaf], atol=6)
        outside = ~(inside(0.3) | leaf)
        np.testing.assert_array_equal(changed[outside], image[outside])
        seen.add(name)
    assert seen == set(HUES)


@pytest.mark.parametrize(
    "label, kept",
    [("Red apple", "apple"), ("big gold Red ball", "big ball"), ("orange", "orange"), ("Redwood", "Redwood")],
)
def test_recoloured_takes_out_old_colours_but_leaves_a_name(label, kept):
    record = recoloured(disc(RED), {"label": label}, None, rng())[1]
    name, rest = record["label"].split(" ", 1)
    assert name in HUES and rest == kept and record["keywords"] == []


def test_recoloured_takes_old_colours_out_of_keywords_too():
    record = recoloured(disc(RED), apple(keywords=["red", "Red fruit", "ripe"]), None, rng())[1]
    name = record["label"].split()[0]
    assert record["keywords"] == [f"{name} fruit", f"{name} ripe"]


def striped():
    """Half red, a quarter green, a quarter blue: no main colour."""
    return np.broadcast_to(np.repeat(np.uint8([RED, RED, GREEN, BLUE]), SIZE // 4, axis=0), (SIZE, SIZE, 3))


@pytest.mark.parametrize("image", [white(), white(8), disc((128, 128, 128)), disc((0, 0, 0)), striped()])
def test_recoloured_leaves_pictures_without_a_main_colour(image):
    assert recoloured(image, apple(), None, rng()) is None


# Restyled


def test_restyled_says_in_which_style_it_draws():
    """Each style by what it is known for, on a red disc over a white ground."""
    image, inner, ground = disc(RED), inside(0.2), ~inside(0.4)
    known = {
        "greyscale": lambda new: np.ptp(new, axis=-1).max() == 0 and np.unique(new).size == 2,
        "sepia": lambda new: (np.diff(new.astype(int), axis=-1) < 0).all() and new[ground].mean() > new[inner].mean(),
        "blueprint": lambda new: new[ground][:, 2].mean() > 2 * new[ground][:, 0].mean() and new[inner].min() > 100,
        "negative": lambda new: (new == 255 - image).all(),
        "contour": lambda new: new[ground].min() > 250 and new[inner].min() > 250 and new.min() < 200,
        "pixelated": lambda new: (new == new[::4, ::4].repeat(4, 0).repeat(4, 1)).all() and where(new, RED).any(),
    }
    seen = set()
    for seed in range(60):
        changed, record = restyled(image, apple(), None, rng(seed))
        name, style = record["style"].split()
        assert style == "flat" and {**record, "style": "flat"} == apple()
        assert changed.shape == image.shape and changed.dtype == "uint8" and known[name](changed), name
        seen.add(name)
    assert seen == set(known)


def test_restyled_leaves_pictures_without_a_style():
    assert restyled(disc(RED), apple(style=None), None, rng()) is None


# Paired


def test_paired_puts_both_where_the_words_say():
    a, b = ({"label": label, "keywords": ["food"], "style": "flat"} for label in ("apple", "owl"))
    seen = set()
    for seed in range(200):
        picture, record = paired(disc(RED), a, (disc(BLUE), b), rng(seed))
        alone, _ = paired(disc(RED), a, (white(), b), rng(seed))  # b is in front of a, so look for a without it
        places = centre(where(alone, RED)), centre(where(picture, BLUE))
        layout = min(SAID, key=lambda expected: np.abs(np.subtract(expected, places)).max())
        np.testing.assert_allclose(places, layout, atol=1.5 / SIZE)
        assert record == {**a, "label": record["label"], "keywords": []} and record["label"] in SAID[layout]
        seen.add((layout, record["label"]))
        in_front = where(picture, BLUE)
        height, width = (np.ptp(axis) + 1 for axis in np.nonzero(in_front))
        assert abs(height - width) <= 1, "something covers b"
        assert picture.shape == alone.shape and (picture[0, 0] == 255).all()
    assert seen == {(layout, label) for layout, labels in SAID.items() for label in labels}


def test_paired_with_odd_pictures_and_labels():
    for size in (8, SIZE):
        for seed in range(20):
            blank = paired(white(size), {"label": "Owl"}, (white(size), {"label": "8 ball"}), rng(seed))
            assert (blank[0] == 255).all()
            assert "an 8 ball" in blank[1]["label"] or "an Owl" in blank[1]["label"]
            assert paired(disc(RED, size=size), apple(), (disc(BLUE, size=size), apple()), rng(seed))[0].min() < 60


@pytest.mark.parametrize(
    "label, article",
    [("apple", "an"), ("Apple", "an"), ("cat", "a"), ("1st place medal", "a"), ("8 ball", "an")]
    + [("unicorn", "a"), ("umbrella", "an"), ("Euro banknote", "a"), ("onion", "an"), ("one o'clock", "a")],
)
def test_article(label, article):
    assert with_article(label) == f"{article} {label}"


def test_around_reaches_into_a_bay_but_not_into_a_ring():
    picture = white(16)
    picture[2:9, 2:9] = RED
    picture[4:7, 4:7] = 255  # enclosed
    picture[10:15, 2:14] = RED
    picture[11:14, 5:14] = 255  # open to the right
    expected = np.ones((16, 16), bool)
    expected[2:9, 2:9] = False
    expected[10:15, 2:14] = False
    expected[11:14, 5:14] = True
    np.testing.assert_array_equal(around(picture), expected)
    assert around(white(8)).all() and not around(np.zeros((8, 8, 3), "uint8")).any()


# All of them


def styled_pictures():
    """Discs of different reds in two styles, and two images without style: one of no label, one of a number."""
    records = [{"label": f"thing {row}", "style": ("flat", "3d")[row % 2], "row": row} for row in range(8)]
    captions = [f"{record['label']}, {record['style']}" for record in records]
    images = np.stack([disc((200 + 5 * row, 20, 20), size=16) for row in range(10)])
    return CaptionedImages(images, captions + ["some fruit", "other fruit"], records + [{}, {"label": 3}])


VARIATIONS = (mirrored, recoloured, paired)


def test_vary_begins_with_the_picture_and_captions_are_label_and_style():
    pictures = styled_pictures()
    variations_of = vary(pictures, VARIATIONS)
    for row in range(len(pictures)):
        images, records = variations_of(row)
        assert len(images) == len(records) == 4 and all(image.shape == (16, 16, 3) for image in images)
        np.testing.assert_array_equal(images[0], pictures.images[row])
        assert records[0]["caption"] == pictures.captions[row]
        label, style = (f"thing {row}", f", {records[0]['style']}") if row < 8 else (pictures.captions[row], "")
        assert records[0]["label"] == label
        assert records[1]["label"] == f"mirrored {label}"
        assert [record["caption"] for record in records] == [record["label"] + style for record in records]
        assert len({record["label"] for record in records}) == 4


@pytest.mark.parametrize("label", [{}, {"label": ""}, {"label": None}, {"label": 7}])
def test_vary_takes_the_label_from_the_caption_where_there_is_none(label):
    pictures = CaptionedImages(white(8)[None], ["ripe apple, flat"], [{**label, "style": "flat"}])
    _, (plain, other) = vary(pictures, (mirrored,))(0)
    assert (plain["label"], plain["caption"]) == ("ripe apple", "ripe apple, flat")
    assert (other["label"], other["caption"]) == ("mirrored ripe apple", "mirrored ripe apple, flat")


def test_vary_depends_on_seed_and_row_alone():
    def drawn(seed, rows):
        variations_of = vary(styled_pictures(), (recoloured, paired) * 3, seed)
        return {row: variations_of(row) for row in rows}

    first, again, other = drawn(1, [2, 5]), drawn(1, [5, 0, 2]), drawn(2, [2, 5])
    for row in (2, 5):
        np.testing.assert_array_equal(first[row][0], again[row][0])
        assert first[row][1] == again[row][1] != other[row][1]
    assert len({record["label"] for record in first[2][1]}) > 4, "the same variation twice is drawn twice"


def test_vary_takes_partners_of_the_same_style():
    partners = []

    def watch(image, record, partner, rng):
        partners.append((record.get("style"), partner[1].get("style"), partner[1]["label"]))
        np.testing.assert_array_equal(partner[0], pictures.images[partner[1]["row"]])

    pictures = styled_pictures().select(range(8))
    variations_of = vary(pictures, (watch,) * 20)
    for row in range(8):
        variations_of(row)
    assert all(own == other for own, other, _ in partners)
    assert len(set(partners)) == 8


def test_the_partner_is_another_picture():
    def watch(image, record, partner, rng):
        seen.append((record["row"], partner and partner[1]["row"], float(rng.random())))

    pictures, seen = styled_pictures().select([0, 2, 4, 1]), []
    variations_of = vary(pictures, (watch,) * 40)
    for row in range(4):
        variations_of(row)
    assert {pair[:2] for pair in seen} == {(0, 2), (0, 4), (2, 0), (2, 4), (4, 0), (4, 2), (1, None)}
    for row in range(4):  # what a variation draws does not depend on whether the image drew itself
        for index in range(40):
            rng = np.random.default_rng((0, row, index))
            rng.choice([0, 1, 2] if row < 3 else [3])
            assert seen[40 * row + index][2] == rng.random()


def test_a_picture_alone_in_its_style_is_not_paired():
    pictures = styled_pictures().select([0, 1, 2])
    images, records = vary(pictures, (paired, mirrored))(1)
    assert [record["label"] for record in records] == ["thing 1", "thing 1", "mirrored thing 1"]
    np.testing.assert_array_equal(images[1], images[0])


@pytest.mark.parametrize(
    "label, thing, expected",
    [("Top hat", "top hat", True), ("two red hats", "hat", True), ("hat", "hat", True), ("red-hat", "hat", True)]
    + [("hatching chick", "hat", False), ("chat", "hat", False), ("glasses", "glass", True), ("a.c", "abc", False)]
    + [("abc", "a.c", False)],
)
def test_names(label, thing, expected):
    assert names(label, thing) == expected


def test_vary_repeats_a_picture_that_a_variation_does_not_suit():
    pictures = CaptionedImages(white(8)[None], ["snow, flat"], [{"label": "snow", "style": "flat"}])
    images, records = vary(pictures, (recoloured, mirrored))(0)
    assert records[0] == records[1] == {"label": "snow", "style": "flat", "caption": "snow, flat"}
    np.testing.assert_array_equal(images[0], images[1])
    assert records[2]["caption"] == "mirrored snow, flat"


def test_vary_keeps_out_what_shall_be_asked_for():
    pictures = CaptionedImages(
        np.stack([disc(RED)] * 2), ["", ""], [{"label": label, "style": ""} for label in ("ox", "hen")]
    )

    def labels(kept_out):
        return {record["label"] for row in (0, 1) for record in vary(pictures, (paired,) * 40, 0, kept_out)(row)[1]}

    both = {label for label in labels(()) if "ox" in label and "hen" in label}
    assert len(both) > 4
    assert labels([("hen", "ox"), ("hen", "dodo")]) == labels(()) - both
    assert labels([("he", "ox")]) == labels(())  # a part of a word
