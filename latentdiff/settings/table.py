"""The settings of a request, one row each.

What the fronts know of a setting is derived from its row: the option of the command line, the key in a prompts file and
in a PNG, the check, the tensor that a server takes, the row in the manifest of an exported folder. A new setting is a
new row here, and the line that uses it.
"""

import dataclasses
import math
import operator

from latentdiff.settings.texts import as_text

MAX_SEED = 2**31 - 1
MAX_PROMPT_BYTES = 10_000  # no text encoder takes as much
DRAWN_SEEDS = 1_000_000  # a drawn seed lies below: short enough to be typed again
LARGEST = 1e30  # stands for infinity in JSON; no noise level is higher
UNSET = -1  # on the wire: the value that the served model is set to
MAX_SIDE = 100_000  # pixels; no image has a longer side
IMAGE_SIZES = "image_sizes"  # the member of the conditioning that some networks take
EVERYWHERE = (0.0, math.inf)  # the guidance interval that leaves nothing out
PRESET, DRAWN, REQUIRED = "preset", "drawn", "required"  # where a default comes from, if it is no constant

# Those of diffusion.samplers.SAMPLERS, which needs Keras.
SAMPLERS = (
    "ddim",
    "ddpm",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "euler",
    "euler_ancestral",
    "heun",
    "lcm",
    "unipc",
)


class Pair(tuple):
    """The kind of two whole numbers, of the height and of the width."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One row of the table.

    Attributes:
        name: keyword of `generate`.
        kind: str, int, float, bool, tuple for an interval (low, high), or `Pair`.
        help: one line for people.
        default: the value where none is given, or `PRESET` (what the preset is set to), `DRAWN` (a fresh random one)
            or `REQUIRED`.
        low, high: bounds of a number, included; None is no bound.
        choices: the allowed texts; empty for any.
        key: its name where one image is spoken of: option, prompts file, PNG. Default: `name`.
        wire: its name where a batch is spoken of: the tensor of a served model. Default: `name`.
        needs: what it goes with: the input "images" or "masks", or `IMAGE_SIZES` of the network; None where it always
            counts.
        each: whether each image of a call has its own value.
    """

    name: str
    kind: type
    help: str
    default: object = PRESET
    low: float | None = None
    high: float | None = None
    choices: tuple = ()
    key: str = ""
    wire: str = ""
    needs: str | None = None
    each: bool = True

    def __post_init__(self):
        for field in ("key", "wire"):
            object.__setattr__(self, field, getattr(self, field) or self.name)

    @property
    def expected(self):
        """In words, what values are allowed."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        noun = NOUNS[self.kind]
        if self.low is None:
            return noun
        return f"{noun} of at least {self.low}" if self.high is None else f"{noun} from {self.low} to {self.high}"

    @property
    def dtype(self):
        """Of its tensor on the wire."""
        return {str: "string", int: "int32", Pair: "int32", bool: "bool"}.get(self.kind, "float32")

    @property
    def shape(self):
        """Of one value on the wire."""
        return (2,) if self.kind in (tuple, Pair) else ()

    def check(self, value):
        """`value` as one of this kind; raises ValueError, which says what is expected, if it is none."""
        try:
            made = CONVERTERS[self.kind](value)
        except (TypeError, ValueError, OverflowError):
            made = None
        if made is None or not self._allows(made):
            raise ValueError(f"must be {self.expected}")
        return made

    def parse(self, text):
        """The value that a text of the command line means; ValueError as `check`."""
        try:
            value = text if self.kind is str else self.kind(text)
        except ValueError as error:
            raise ValueError(f"must be {self.expected}") from error
        return self.check(value)

    def to_json(self, value):
        """`value` as JSON can hold it."""
        return [min(number, LARGEST) for number in value] if self.shape and value is not None else value

    def _allows(self, value):
        if self.choices and value not in self.choices:
            return False
        numbers = value if self.shape else (value,)
        low = self.low is None or all(number >= self.low for number in numbers)
        return low and (self.high is None or all(number <= self.high for number in numbers))


def _whole(value):
    if isinstance(value, bool):
        raise TypeError
    return operator.index(value)


def _real(value):
    if isinstance(value, (bool, str, bytes)) or math.isnan(number := float(value)):
        raise TypeError
    return number


def _truth(value):
    if type(value).__name__ not in ("bool", "bool_"):  # numpy's, too
        raise TypeError
    return bool(value)


def _interval(value):
    low, high = (math.inf if (number := _real(edge)) >= LARGEST else number for edge in value)
    if not low < high:
        raise ValueError
    return low, high


def _pair(value):
    first, second = map(_whole, value)
    return first, second


CONVERTERS = {str: as_text, int: _whole, float: _real, bool: _truth, tuple: _interval, Pair: _pair}
NOUNS = {
    str: "valid Unicode text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple: "an interval LOW HIGH with LOW < HIGH",
    Pair: "two whole numbers",
}

PROMPTS = Setting("prompts", str, "what an image should show", REQUIRED, key="prompt")
NEGATIVE_PROMPTS = Setting("negative_prompts", str, "what the images should not show", "", key="negative_prompt")
SEED = Setting("seed", int, "the same seed gives the same image", DRAWN, 0, MAX_SEED, wire="seeds")
NUM_STEPS = Setting("num_steps", int, "sampling steps", low=1)
GUIDANCE_SCALE = Setting("guidance_scale", float, "how strictly to follow the prompt; 1 is off", low=1, high=1000)
GUIDANCE_RESCALE = Setting("guidance_rescale", float, "how far to undo the contrast that guidance adds", low=0, high=1)
GUIDANCE_INTERVAL = Setting(
    "guidance_interval", tuple, "noise levels between which guidance works; 0 inf is all", low=0
)
STRENGTH = Setting(
    "strength",
    float,
    "how much of the given image to forget; 1 is all (default: 0.8; with a mask 1)",
    low=0,
    high=1,
    needs="images",
)
KEEP_PIXELS = Setting(
    "keep_pixels", bool, "leave the pixels outside the mask exactly as they are", False, needs="masks"
)
ORIGINAL_SIZE = Setting(
    "original_size",
    Pair,
    "height and width that the image had before it was cropped, for Stable Diffusion XL (default: the image's)",
    low=1,
    high=MAX_SIDE,
    needs=IMAGE_SIZES,
)
CROP_TOP_LEFT = Setting(
    "crop_top_left",
    Pair,
    "top and left edge of that crop, in pixels (default: 0 0)",
    low=0,
    high=MAX_SIDE,
    needs=IMAGE_SIZES,
)
TARGET_SIZE = Setting(
    "target_size",
    Pair,
    "height and width of the result, for the same models (default: the image's)",
    low=1,
    high=MAX_SIDE,
    needs=IMAGE_SIZES,
)
SAMPLER = Setting("sampler", str, "the stepping rule", choices=SAMPLERS, each=False)

ROWS = (
    PROMPTS,
    NEGATIVE_PROMPTS,
    SEED,
    NUM_STEPS,
    GUIDANCE_SCALE,
    GUIDANCE_RESCALE,
    GUIDANCE_INTERVAL,
    STRENGTH,
    KEEP_PIXELS,
    ORIGINAL_SIZE,
    CROP_TOP_LEFT,
    TARGET_SIZE,
    SAMPLER,
)
SETTINGS = {row.name: row for row in ROWS}
GUIDANCE = (GUIDANCE_SCALE, GUIDANCE_RESCALE, GUIDANCE_INTERVAL)  # what a guided denoiser takes
SIZES = (ORIGINAL_SIZE, CROP_TOP_LEFT, TARGET_SIZE)  # in the order of the member of the conditioning


def describe(defaults, names=SETTINGS):
    """Rows of the table as JSON can hold them, for hosts that run without this package.

    Args:
        defaults: dict of name to value: what the preset is set to, for the rows whose default is `PRESET`.
        names: of the rows.

    Returns:
        list of dicts with `name`, `key`, `kind` ("str", "int", "float", "bool", "interval" or "pair"), `low`, `high`,
        `choices`, `default`, `drawn` (whether a random value is the default), `needs`, `each`, `expected` and `help`.
    """
    rows = []
    for row in (SETTINGS[name] for name in names):
        default = defaults.get(row.name) if row.default == PRESET else row.default
        told = {name: getattr(row, name) for name in ("name", "key", "low", "high", "choices", "needs", "each")}
        kind = {tuple: "interval", Pair: "pair"}.get(row.kind, row.kind.__name__)
        told |= {"kind": kind, "expected": row.expected, "help": row.help, "drawn": row.default == DRAWN}
        constant = default not in (DRAWN, REQUIRED)
        rows.append({**told, "choices": list(row.choices), "default": row.to_json(default) if constant else None})
    return rows
