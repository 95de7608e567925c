"""What the config of a preset may be made of: a closed list, so that no code of a stranger runs when one is opened.

- models, layers, noise schedules and objectives of latentdiff;
- backbones, tokenizers and layers of KerasHub;
- layers, operations, initializers, regularizers, constraints and dtype policies of Keras, without those that hold code
  or read files;
- classes of the user's that are registered by `keras.saving.register_keras_serializable`.

Everything is looked up as Keras does, among what is imported already, and before anything is made.
"""

import inspect
import sys

import keras

from latentdiff.diffusion.noise_schedule import NoiseSchedule
from latentdiff.diffusion.objectives import Objective

MAX_DEPTH = 100  # of parts in parts
OURS = (keras.layers.Layer, NoiseSchedule, Objective)
KERAS = tuple(
    f"keras.src.{folder}."
    for folder in (
        *("layers.activations", "layers.attention", "layers.convolutional", "layers.core", "layers.merging"),
        *("layers.normalization", "layers.pooling", "layers.regularization", "layers.reshaping", "layers.rnn"),
        *("ops.nn", "ops.numpy", "ops.math", "models.functional", "models.sequential"),
        *("initializers", "regularizers", "constraints", "dtype_policies"),
    )
)
KERAS_HUB = ("keras_hub.src.models.", "keras_hub.src.layers.modeling.", "keras_hub.src.tokenizers.")
CODE = ("Lambda",)
LIBRARIES = ("keras_nlp", "tensorflow", "tensorflow_text", "tf_keras", "builtins")  # whose other classes are nobody's
VALUES = ("__keras_tensor__", "__numpy__", "__tensor__", "__slice__", "__ellipsis__")
FILES = ("vocabulary", "merges", "proto", "special_tokens", "language_tokens")  # of a tokenizer, where a str is a path


def check_config(config):
    """Raises ValueError for a config, as JSON gives it, with a part that is not in the list."""
    import keras_hub  # noqa: F401  registers its classes

    left = [(config, 0)]
    while left:
        part, depth = left.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"The preset is refused: its config has parts more than {MAX_DEPTH} deep.")
        if isinstance(part, dict):
            if "class_name" in part:
                _check_part(part)
            left += [(value, depth + 1) for value in part.values()]
        elif isinstance(part, list):
            left += [(value, depth + 1) for value in part]


def _check_part(part):
    name, module, config = (part.get(key) for key in ("class_name", "module", "config"))
    if name in VALUES:
        return
    is_text = isinstance(name, str) and isinstance(module, str | None) and not name.startswith("__")  # as "__lambda__"
    if name == "function":
        allowed = isinstance(config, str) and is_text and _is_allowed_function(config, module)
    else:
        allowed = is_text and _is_allowed(_find(part.get("registered_name", name), name, module), config)
    if not allowed:
        raise ValueError(
            "The preset is refused: it may hold parts of latentdiff, Keras and KerasHub without code or paths, and "
            f"registered classes. Received: {str(name)[:40]!r} of {str(module)[:40]!r}"
        )


def _find(registered_name, name, module):
    """The object that Keras would take: a registered one, or one of a module of Keras."""
    registered = keras.saving.get_registered_object(registered_name) if isinstance(registered_name, str) else None
    if registered is not None:
        return registered
    is_keras = module is not None and module.partition(".")[0] == "keras"
    return getattr(sys.modules.get(module), name, None) if is_keras else None


def _is_allowed(kind, config):
    if not inspect.isclass(kind):
        return False
    library = kind.__module__.partition(".")[0]
    if library == "latentdiff":
        return issubclass(kind, OURS)
    if library == "keras":
        return f"{kind.__module__}.".startswith(KERAS) and kind.__name__ not in CODE
    if library == "keras_hub":
        return _is_allowed_of_keras_hub(kind, config)
    return library not in LIBRARIES


def _is_allowed_of_keras_hub(kind, config):
    from keras_hub import models, tokenizers

    if issubclass(kind, tokenizers.Tokenizer):
        return isinstance(config, dict) and not any(isinstance(config.get(name), str) for name in FILES)
    is_layer = issubclass(kind, keras.layers.Layer) and not issubclass(kind, models.Task)
    return is_layer and kind.__module__.startswith(KERAS_HUB)


def _is_allowed_function(name, module):
    registered = keras.saving.get_registered_object(name)
    if registered is not None:
        return registered.__module__.partition(".")[0] not in (*LIBRARIES, "keras", "keras_hub")
    return module in ("builtins", "keras.activations") and hasattr(keras.activations, name)
