"""A config file of diffusers or transformers, of which every entry must be understood."""

import json
from pathlib import Path

OFF = (None, False)


class Config:
    """The entries of a config file; those that nobody has taken are refused by `finish`.

    Args:
        values: dict.
        path: where they come from, for messages.
    """

    def __init__(self, values, path):
        self.path = path
        self._values = {name: value for name, value in values.items() if not name.startswith("_")}
        self.class_name = values.get("_class_name")

    def take(self, name, default=None):
        """The value of an entry, or the default of the library that wrote the file."""
        value = self._values.pop(name, None)
        return default if value is None else value

    def need(self, name):
        """The value of an entry that must be there."""
        value = self.take(name)
        if value is None:
            raise ValueError(f"{self.path} must have an entry {name!r}. Received: none")
        return value

    def expect(self, **expected):
        """Takes entries that must have these values, or a value of a tuple of them, where they are there."""
        for name, choices in expected.items():
            choices = choices if isinstance(choices, tuple) else (choices,)
            value = self.take(name, choices[0])
            if value not in choices:
                told = " or ".join(map(repr, choices))
                raise ValueError(f"`{name}` in {self.path} must be {told}. Received: {name}={value!r}")

    def ignore(self, *names):
        """Takes entries that change nothing here."""
        for name in names:
            self._values.pop(name, None)

    def finish(self):
        """Raises ValueError for an entry that nobody has taken, unless it is switched off."""
        for name, value in self._values.items():
            if value not in OFF:
                raise ValueError(f"`{name}` in {self.path} is not supported. Received: {name}={value!r}")


def read_json(path):
    """The dict in a JSON file.

    Raises:
        ValueError: a file that is missing, no JSON, or no dict; names it.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"The folder is incomplete: {path} is missing.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} can't be read as JSON ({error}).") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a JSON object. Received: {type(values).__name__}")
    return values


def read_config(path):
    """The `Config` in a file."""
    return Config(read_json(path), path)
