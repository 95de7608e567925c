"""A request: what is asked for, one row per image, checked where it enters."""

import dataclasses
import difflib
import operator
import secrets
from collections.abc import Mapping

from latentdiff.settings import prompt_syntax
from latentdiff.settings.table import DRAWN, DRAWN_SEEDS, MAX_SEED, PRESET, REQUIRED, SETTINGS
from latentdiff.settings.texts import as_texts

OTHERS = ("images", "masks", "noise", "num_images", "batch_size", "callback")  # arguments that are no settings
TEXTS = tuple(name for name, row in SETTINGS.items() if row.kind is str and row.each)


@dataclasses.dataclass(frozen=True)
class Request:
    """The settings of one or more images. `Request.build` makes one; nobody changes it.

    Attributes:
        columns: dict of the name of a setting to a tuple of one value for each image. None stands for a default that
            is not known yet, see `with_defaults`.
        shared: dict of the name of a setting to its one value for all images.
        parsed: dict of the name of a text to a tuple of its parsed prompt for each image, see `prompt_syntax.parse`.
        drawn: tuple of the seeds that were drawn, one for each prompt that had none.
    """

    columns: Mapping
    shared: Mapping
    parsed: Mapping
    drawn: tuple = ()

    @classmethod
    def build(cls, prompts, *, num_images=1, **settings):
        """Checks what a person asked for.

        Args:
            prompts: str, or a list of str.
            num_images: int >= 1, images per prompt; image k of a prompt takes seed + k.
            settings: of `table.SETTINGS`, by name: one value for all prompts, or a list of one for each. None, also in
                a list, stands for the default.

        Raises:
            ValueError: an unknown setting, a list of another length than the prompts, a value out of bounds, a prompt
                whose syntax is wrong.
        """
        check_names(settings)
        texts = as_texts(prompts, "prompts")
        if not texts:
            raise ValueError("`prompts` must have at least one prompt. Received: prompts=[]")
        num_images = check_count("num_images", num_images)
        given = {"prompts": texts, **settings}
        columns = {name: _column(row, given.get(name), len(texts)) for name, row in SETTINGS.items() if row.each}
        shared = {name: _shared(row, given.get(name)) for name, row in SETTINGS.items() if not row.each}
        columns["seed"], drawn = _drawn(columns["seed"])
        parsed = {name: [prompt_syntax.parse(text, name) for text in columns[name]] for name in TEXTS}
        columns, parsed = ({k: _repeated(v, num_images) for k, v in part.items()} for part in (columns, parsed))
        columns["seed"] = tuple(seed + row % num_images for row, seed in enumerate(columns["seed"]))
        if max(columns["seed"]) > MAX_SEED:
            raise ValueError(f"`seed` + `num_images` must stay within {MAX_SEED}. Received: {num_images=}")
        return cls(columns, shared, parsed, drawn)

    def __len__(self):
        return len(self.columns["prompts"])

    def __getitem__(self, name):
        """The values of a setting, one for each image; of a shared one its value."""
        return self.columns[name] if name in self.columns else self.shared[name]

    def rows(self, start, stop):
        """The part of the request that asks for the images `start` to `stop`."""
        columns, parsed = ({k: v[start:stop] for k, v in part.items()} for part in (self.columns, self.parsed))
        return dataclasses.replace(self, columns=columns, parsed=parsed)

    def batches(self, size):
        """The request in parts of at most `size` images."""
        return [self.rows(start, start + size) for start in range(0, len(self), size)]

    def with_defaults(self, defaults):
        """The request with `defaults`, a dict of names to values, wherever it said nothing."""
        columns = {
            name: tuple(defaults.get(name) if value is None else value for value in values)
            for name, values in self.columns.items()
        }
        shared = {name: defaults.get(name) if value is None else value for name, value in self.shared.items()}
        return dataclasses.replace(self, columns=columns, shared=shared)

    def record(self, index, inputs=()):
        """The settings of one image as JSON can hold them, by key; those that are not known are left out.

        Args:
            index: of the image.
            inputs: names of what it was made from, see `Setting.needs`: settings that need others are left out.
        """
        values = {name: values[index] for name, values in self.columns.items()} | self.shared
        rows = [SETTINGS[name] for name in values if values[name] is not None]
        return {row.key: row.to_json(values[row.name]) for row in rows if row.needs in (None, *inputs)}


def check_names(names):
    """Raises ValueError unless all names are settings; tells the nearest one."""
    for name in names:
        if name not in SETTINGS:
            near = difflib.get_close_matches(name, [*SETTINGS, *OTHERS], 1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Known are {list(SETTINGS)}."
            raise ValueError(f"Unknown setting.{hint} Received: {name!r}")


def check_count(name, value):
    """A count as int; raises ValueError unless it is a whole number of at least 1."""
    try:
        count = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = 0
    if count < 1:
        raise ValueError(f"`{name}` must be a whole number of at least 1. Received: {name}={value!r}")
    return count


def _column(row, value, count):
    """One checked value for each of `count` prompts; None where the default is not known yet."""
    value = value.numpy() if hasattr(value, "numpy") else value
    value = value.tolist() if hasattr(value, "tolist") else value
    one = value is None or not isinstance(value, (list, tuple)) or (row.shape and _is_pair(value))
    values = [value] * count if one else list(value)
    if len(values) != count:
        raise ValueError(
            f"`{row.name}` must be one value, or one for each of the {count} prompts. Received: {len(values)} values"
        )
    return tuple(_checked(row, entry) for entry in values)


def _is_pair(value):
    return len(value) == 2 and not any(hasattr(edge, "__len__") or edge is None for edge in value)


def _shared(row, value):
    if row.choices and value is not None and not isinstance(value, str):
        return value  # an object in place of a name, such as a `Sampler`
    return _checked(row, value)


def _checked(row, value):
    if value is None:
        return None if row.default in (PRESET, DRAWN, REQUIRED) else row.default
    try:
        return row.check(value)
    except ValueError as error:
        raise ValueError(f"`{row.name}` {error}. Received: {row.name}={value!r}") from None


def _drawn(seeds):
    """Seeds with fresh ones in place of None, and those."""
    drawn = tuple(secrets.randbelow(DRAWN_SEEDS) for seed in seeds if seed is None)
    fresh = iter(drawn)
    return tuple(next(fresh) if seed is None else seed for seed in seeds), drawn


def _repeated(values, times):
    return tuple(value for value in values for _ in range(times))
