"""Models whose weights stay in their files: a preset of them is written with one tensor in memory at a time."""

import concurrent.futures
import contextvars

import keras

_SCOPE = contextvars.ContextVar("scope", default=None)


class UnreadWeights(keras.StatelessScope):
    """A scope in which variables have the values that `give` promised them. New variables get no initial values."""

    def __init__(self):
        super().__init__(initialize_variables=False)
        self.readers = {}

    def get_current_value(self, variable):
        read = self.readers.get(id(variable))
        return super().get_current_value(variable) if read is None else read()


def give(variable, read):
    """Gives a variable the array that `read()` returns: now, or within `without_values` whenever it is asked for."""
    scope = _SCOPE.get()
    if scope is None:
        variable.assign(read())
    else:
        scope.readers[id(variable)] = read


def without_values(build):
    """Builds a model and leaves its weights in their files.

    Args:
        build: function without arguments.

    Returns:
        made: what `build` returns.
        scope: context manager within which its variables have their values. Outside they have none.
    """
    scope = UnreadWeights()

    def run():
        _SCOPE.set(scope)
        with scope:
            return build()

    # Keras lists variables without values by thread, and would give those of this thread initial ones later.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result(), scope
